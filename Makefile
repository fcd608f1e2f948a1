# assay: one non-recursive Makefile. Programs land in bin/, objects in build/.
#   make            build everything          make test       the quick tests
#   make SAN=1 ...  with ASan and UBSan       make bench      speed beside its limits
VERSION := 0.1.0
BUILD := build$(if $(SAN),/san)$(if $(filter clang,$(CC)),/clang)
BIN   := $(if $(SAN),$(BUILD)/bin,bin)

CC     ?= gcc
OPT    ?= -O2
WARN   := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla
CPPFLAGS += -D_GNU_SOURCE -DASSAY_VERSION='"$(VERSION)"' -Icommon
CFLAGS += -std=gnu11 -g $(OPT) -ffp-contract=off $(WARN) $(if $(DEVELOPER),-Werror) $(if $(SAN),-fsanitize=address$(comma)undefined -fno-omit-frame-pointer)
comma := ,
LDFLAGS += $(if $(SAN),-fsanitize=address$(comma)undefined)
LDLIBS := -Wl,--as-needed -ldnnl -lgomp -lopenblas -ljansson -lcurl -lcrypto -lpng -lz -lpthread -lm

LAYERS := base io engine nn audit chart
SOURCES := $(wildcard $(LAYERS:%=common/%/*.c))
# Files named *_isa.c are compiled once per instruction set and chosen at run time.
ISA_SOURCES := $(filter %_isa.c,$(SOURCES))
ISA_baseline :=
ISA_avx2     := -mavx2 -mfma -mf16c
ISA_avx512   := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512
OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(ISA_SOURCES),$(SOURCES))) \
           $(foreach isa,baseline avx2 avx512,$(patsubst %_isa.c,$(BUILD)/%_$(isa).o,$(ISA_SOURCES)))
TOOLS := $(patsubst tools/%.c,%,$(wildcard tools/*.c))

all: $(TOOLS:%=$(BIN)/%)

$(BUILD)/libassay.a: $(OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $(OBJECTS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define isa_rule
$$(BUILD)/%_$(1).o: %_isa.c
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) -O3 -ffp-contract=fast -DISA=$(1) -DISA_$(1) $$(ISA_$(1)) -MMD -MP -c -o $$@ $$<
endef
$(foreach isa,baseline avx2 avx512,$(eval $(call isa_rule,$(isa))))

$(BIN)/%: $(BUILD)/tools/%.o $(BUILD)/libassay.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
$(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(BUILD)/libassay.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

unit: $(UNIT:%=$(BUILD)/tests/%)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done

clean:
	rm -rf build bin

.PHONY: all unit clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
