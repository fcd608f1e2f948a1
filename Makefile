# assay: one non-recursive Makefile. Programs land in bin/, everything else that is made in build/.
VERSION := 0.1.0
define HELP
make                   the programs, in bin/
make test              the tests that take minutes; test-full: also the long ones; test-peers: beside PyTorch
make pipeline-fashion  train, attack and report on FashionMNIST, into results/ (pipelines/fashion.mk)
make pipeline-inversion  what comes back of training images out of the weights (pipelines/inversion.mk)
make tune-inversion    a search for the weights of the generator's losses (pipelines/tune-inversion.mk)
make reconstruct       the direct attack in one step: MEMBERS=FILE OUT=FILE
make bench             speed beside its limits
make install           into PREFIX (/usr/local), below DESTDIR; uninstall; deb makes a Debian package
make clean             removes bin/ and build/, not results/

SAN=1                  with address and undefined-behaviour sanitizers, in build/san/
DEVELOPER=1            warnings are errors, by gcc and by clang
CC=clang               in build/clang/
V=1                    shows every command

test, pipeline-* and tune-inversion first install what is missing (the list is in ./packages); the others only say it.
endef

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
GOALS := $(or $(MAKECMDGOALS),all)
JUST_WORDS := clean help uninstall
# As many jobs as processors, unless the user said how many.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif

# ---- what the system must have, before anything else looks for it

NEEDS := build $(if $(filter test test-full,$(GOALS)),test) $(if $(filter test-full fuzz,$(GOALS)),full) \
         $(if $(filter pipeline-% tune-inversion,$(GOALS)),pipeline) $(if $(DEVELOPER),developer)
ifneq ($(filter-out $(JUST_WORDS),$(GOALS)),)
# build/packages holds the needs that were met, until the list changes.
LACKING := $(filter-out $(shell [ build/packages -nt packages ] && cat build/packages),$(NEEDS))
ifneq ($(LACKING),)
$(shell ./packages $(if $(filter packages test test-full pipeline-% tune-inversion,$(GOALS)),,--check) $(NEEDS) >&2 && mkdir -p build && \
        echo $(NEEDS) > build/packages)
ifneq ($(.SHELLSTATUS),0)
$(error packages are missing, see above)
endif
endif
endif

ifdef CUDA
ifeq ($(wildcard common/engine/cuda*),)
$(error CUDA=1: this version computes on the CPU only, there is no CUDA executor in common/engine to build)
endif
endif

# ---- how things are compiled

ifeq ($(origin CC),default)
CC := gcc
endif
comma := ,
empty :=
space := $(empty) $(empty)
BUILD := build$(if $(filter clang%,$(CC)),/clang)$(if $(SAN),/san)
BIN   := $(if $(filter build,$(BUILD)),bin,$(BUILD)/bin)

OPT     := $(if $(SAN),-O1,-O2)
WARN    := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla $(if $(DEVELOPER),-Werror)
SANITIZE := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
COMPILE  = $(CC) -std=gnu11 -g $(OPT) -ffp-contract=off $(WARN) $(SANITIZE) -D_GNU_SOURCE -DASSAY_VERSION='"$(VERSION)"' -Icommon \
           $(CPPFLAGS) $(CFLAGS)
LINK     = $(CC) $(SANITIZE) $(CFLAGS) $(LDFLAGS)
# A program is linked with what it uses and no more: none waits for libraries that it never calls.
LDLIBS  := -Wl,--as-needed -ldnnl -lgomp -lopenblas -ljansson -lcurl -lcrypto -lpng -lz -lpthread -lm

LAYERS  := base io engine nn audit chart
SOURCES := $(wildcard $(LAYERS:%=common/%/*.c))
# Files named *_isa.c are compiled once per instruction set and chosen at run time. They may fuse multiply and
# add (from -O2 on it is done wherever it can be, so never with less), and sqrt sets no errno there, so that loops
# with it become vector code.
ISAS         := baseline avx2 avx512
ISA_baseline :=
ISA_avx2     := -mavx2 -mfma -mf16c
ISA_avx512   := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512
ISA_COMPILE   = $(COMPILE) $(if $(SAN),-O2,-O3) -ffp-contract=fast -fno-math-errno
ISA_SOURCES := $(filter %_isa.c,$(SOURCES))
OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(ISA_SOURCES),$(SOURCES))) \
           $(foreach isa,$(ISAS),$(ISA_SOURCES:%_isa.c=$(BUILD)/%_$(isa).o))
TOOLS := $(patsubst tools/%.c,%,$(wildcard tools/*.c))
UNIT  := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
BENCH := $(patsubst tests/bench/%.c,%,$(wildcard tests/bench/bench_*.c))
FUZZ  := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
MAINS := $(patsubst %.c,$(BUILD)/%.o,$(foreach part,tools tests/unit tests/bench tests/fuzz,$(wildcard $(part)/*.c)))
# Kept between builds. Without the list every file would be secondary, and make walks a chain of such files, each of two
# others before it, in every way there is: the pipelines are such chains.
.SECONDARY: $(MAINS)

# make's options of one letter.
LETTERS := $(filter-out -%,$(firstword $(MAKEFLAGS)))
DRY     := $(findstring n,$(LETTERS))

# Other flags, or another list of objects, are a reason to build again: a file each that changes only when they do.
ifneq ($(filter-out $(JUST_WORDS),$(GOALS)),)
# Under -n nothing is written: the file only counts as changed.
remember = $(if $(subst x$(strip $2),,x$(file <$1))$(subst x$(file <$1),,x$(strip $2)),$(if $(DRY),$(eval .PHONY: $1),\
    $(shell mkdir -p $(dir $1))$(file >$1,$(strip $2))))
$(call remember,$(BUILD)/flags,$(COMPILE) $(foreach isa,$(ISAS),$(ISA_$(isa))) $(ISA_COMPILE) $(LINK) $(LDLIBS))
$(call remember,$(BUILD)/objects,$(OBJECTS))
endif

# One short line for each thing made; V=1 shows the commands, -s nothing.
Q   := $(if $(V),,@)
SAY := $(if $(V)$(findstring s,$(LETTERS)),@:,@printf '  %-5s%s\n')

# ---- programs

.PHONY: all help clean
all: $(TOOLS:%=$(BIN)/%) $(BIN)/assay

$(BUILD)/libassay.a: $(OBJECTS) $(BUILD)/objects
	$(Q)rm -f $@
	$(SAY) AR $@
	$(Q)$(AR) rcs $@ $(OBJECTS)

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

define isa_rule
$$(BUILD)/%_$(1).o: %_isa.c $$(BUILD)/flags
	@mkdir -p $$(@D)
	$$(SAY) CC $$@
	$$(Q)$$(ISA_COMPILE) -DISA=$(1) -DISA_$(1) $$(ISA_$(1)) -MMD -MP -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))

# The table of data sets is a part of this object.
$(BUILD)/common/io/sources.o: data/SOURCES

$(BIN)/%: $(BUILD)/tools/%.o $(BUILD)/libassay.a
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(LINK) -o $@ $(filter %.o %.a,$^) $(LDLIBS)

# The first line of every program's help is its place in the list: read now, since a list that starts ten programs is slow.
$(BIN)/assay: tools/assay.sh $(TOOLS:%=$(BIN)/%)
	$(SAY) GEN $@
	$(Q)for t in $(sort $(TOOLS)); do $(BIN)/$$t --help | sed -n '1s/^/  assay /p'; done > $(BUILD)/tools.list
	$(Q)sed -e 's/@VERSION@/$(VERSION)/' -e '/@TOOLS@/{' -e 'r $(BUILD)/tools.list' -e 'd' -e '}' $< > $@.new && chmod 755 $@.new && mv $@.new $@

$(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(BUILD)/libassay.a
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(LINK) -o $@ $(filter %.o %.a,$^) -lcmocka $(LDLIBS)

$(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(BUILD)/libassay.a
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(LINK) -o $@ $(filter %.o %.a,$^) $(LDLIBS)

# Every file of a corpus once, without a fuzzer's library.
$(BUILD)/replay/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/libassay.a
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(LINK) -o $@ $(filter %.o %.a,$^) $(LDLIBS)

ifdef DEVELOPER
ifneq ($(filter clang%,$(CC)),clang)
.PHONY: by-clang
all: build-tests by-clang
by-clang:
	+@$(MAKE) --no-print-directory CC=clang all build-tests
endif
endif

help:
	$(info $(HELP))
	@:

clean:
	rm -rf build bin

# ---- tests

.PHONY: build-tests build-sanitized unit test test-full test-peers bench fuzz
build-tests: $(UNIT:%=$(BUILD)/tests/%)
build-sanitized:
	+@$(MAKE) --no-print-directory SAN=1 build-tests $(FUZZ:%=build/san/replay/%)

unit: build-tests
	@tests/run --only unit

test: all build-tests build-sanitized build/completions
	@tests/run

test-full: all build-tests build-sanitized build/completions
	@tests/run --full

# PyTorch comes from Debian's python3-torch: /usr/bin/python3, whatever else is first on PATH.
test-peers: all
	@tests/run --only peers

bench: all $(BENCH:%=$(BUILD)/bench/%) $(BUILD)/bench/networks $(BUILD)/bench/kkt
	@for b in $(BENCH:%=$(BUILD)/bench/%) $(wildcard tests/bench/bench_*.sh tests/bench/bench_*.py); do \
	    echo "== $$b"; \
	    case $$b in *.py) PATH="$(CURDIR)/$(BIN):$$PATH" /usr/bin/python3 $$b ;; *.sh) PATH="$(CURDIR)/$(BIN):$$PATH" bash $$b ;; *) $$b ;; esac || exit 1; \
	done

# libFuzzer, by clang, FUZZ_SECONDS for each target; what it finds new goes to build/fuzz/.
FUZZ_SECONDS := 60
fuzz:
	+@$(MAKE) --no-print-directory CC=clang SAN=1 BUILD=build/fuzz CFLAGS='$(CFLAGS) -fsanitize=fuzzer-no-link' $(FUZZ:%=build/fuzz/fuzz/%)
	@for f in $(FUZZ); do \
	    mkdir -p build/fuzz/corpus/$$f; \
	    build/fuzz/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
	        -artifact_prefix=build/fuzz/$$f- build/fuzz/corpus/$$f tests/fuzz/corpus/$${f#fuzz_} > build/fuzz/$$f.log 2>&1 || \
	        { echo "not ok - $$f"; tail -40 build/fuzz/$$f.log; exit 1; }; \
	    echo "ok - $$f: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz/$$f.log) inputs in $(FUZZ_SECONDS) s"; \
	done
$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libassay.a
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(LINK) -fsanitize=fuzzer -o $@ $(filter %.o %.a,$^) $(LDLIBS)

# ---- installing

PREFIX  := /usr/local
BINDIR   = $(DESTDIR)$(PREFIX)/bin
PROGRAMS = $(DESTDIR)$(PREFIX)/libexec/assay
LIBDIR   = $(DESTDIR)$(PREFIX)/lib
INCLUDE  = $(DESTDIR)$(PREFIX)/include/assay
MAN      = $(DESTDIR)$(PREFIX)/share/man
DOC      = $(DESTDIR)$(PREFIX)/share/doc/assay
BASH_COMPLETION = $(DESTDIR)$(PREFIX)/share/bash-completion/completions/assay
ZSH_COMPLETION  = $(DESTDIR)$(PREFIX)/share/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)/_assay
# What blob.h includes; the rest of the library is internal.
HEADERS := base/error.h io/blob.h io/tensor.h
TOOL_PAGES := $(filter $(TOOLS),$(patsubst man/%.1,%,$(wildcard man/*.1)))

.PHONY: install uninstall deb packages
$(BUILD)/completions: tools/completions.sh $(TOOLS:%=$(BIN)/%)
	@rm -rf $@ $@.new && mkdir -p $@.new
	$(Q)tools/completions.sh bash $(TOOLS:%=$(BIN)/%) > $@.new/assay
	$(Q)tools/completions.sh zsh $(TOOLS:%=$(BIN)/%) > $@.new/_assay
	@mv $@.new $@

# Manuals of tools are installed as assay-TOOL, and speak of each other so.
install: all $(BUILD)/completions
	install -d $(BINDIR) $(PROGRAMS) $(LIBDIR)/pkgconfig $(MAN)/man1 $(MAN)/man5 $(MAN)/man7 $(DOC) \
	    $(dir $(BASH_COMPLETION) $(ZSH_COMPLETION)) $(sort $(dir $(HEADERS:%=$(INCLUDE)/%)))
	install -m 755 $(BIN)/assay $(BINDIR)/assay
	install -m 755 $(TOOLS:%=$(BIN)/%) $(PROGRAMS)
	install -m 644 $(BUILD)/libassay.a $(LIBDIR)
	for h in $(HEADERS); do install -m 644 common/$$h $(INCLUDE)/$$h || exit 1; done
	echo '#include "io/blob.h"' > $(INCLUDE)/blob.h
	printf '%s\n' 'prefix=$(PREFIX)' '' 'Name: assay' 'Description: the exchange format of assay' 'Version: $(VERSION)' \
	    'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/lib -lassay -ljansson -lcrypto -lz -lpthread -lm' > $(LIBDIR)/pkgconfig/assay.pc
	for t in $(TOOL_PAGES); do \
	    sed -E 's/^(\.Xr )($(subst $(space),|,$(strip $(TOOLS)))) 1/\1assay-\2 1/; s/^\.Dt /.Dt ASSAY-/' man/$$t.1 > $(MAN)/man1/assay-$$t.1 || exit 1; \
	done
	for p in $(wildcard man/*.5 man/*.7); do \
	    sed -E 's/^(\.Xr )($(subst $(space),|,$(strip $(TOOLS)))) 1/\1assay-\2 1/' $$p > $(MAN)/man$${p##*.}/$${p##*/} || exit 1; \
	done
	install -m 644 $(BUILD)/completions/assay $(BASH_COMPLETION)
	install -m 644 $(BUILD)/completions/_assay $(ZSH_COMPLETION)
	install -m 644 LICENSE README.md examples/histogram.c $(DOC)

uninstall:
	rm -f $(BINDIR)/assay $(LIBDIR)/libassay.a $(LIBDIR)/pkgconfig/assay.pc $(BASH_COMPLETION) $(ZSH_COMPLETION) $(MAN)/man1/assay-*.1 \
	    $(patsubst man/%.5,$(MAN)/man5/%.5,$(wildcard man/*.5)) $(patsubst man/%.7,$(MAN)/man7/%.7,$(wildcard man/*.7))
	rm -rf $(PROGRAMS) $(INCLUDE) $(DOC)

# A package for this release of Debian: it depends on whatever owns the libraries that the programs name.
DEB := build/assay_$(VERSION)_$(shell dpkg --print-architecture 2> /dev/null).deb
deb: all
	rm -rf build/deb
	@$(MAKE) --no-print-directory install DESTDIR=$(CURDIR)/build/deb PREFIX=/usr
	mkdir build/deb/DEBIAN
	$(Q)needed=$$(objdump -p $(TOOLS:%=$(BIN)/%) | sed -n 's/^ *NEEDED *//p' | sort -u | while read -r l; do \
	    dpkg -S "*/$(shell $(CC) -print-multiarch)/$$l" | sed 's/:.*//' | head -1; done | sort -u | paste -sd, | sed 's/,/, /g'); \
	printf '%s\n' 'Package: assay' 'Version: $(VERSION)' 'Architecture: $(shell dpkg --print-architecture 2> /dev/null)' \
	    'Maintainer: assay authors <assay@localhost>' "Depends: $$needed" 'Recommends: dataset-fashion-mnist, gnuplot-nox' 'Section: science' \
	    'Priority: optional' 'Description: what a vision classifier leaks and withstands' \
	    ' Programs that train image classifiers, attack them and report what they cost' ' in accuracy, robustness and privacy.' > build/deb/DEBIAN/control
	dpkg-deb --root-owner-group -b build/deb $(DEB)

packages:
	@:

# A pipeline's settings come from make's command line, never from a variable that happens to be in the environment.
setting = $(if $(filter command%,$(origin $1)),$($1),$2)
include $(wildcard pipelines/*.mk)
-include $(patsubst %.o,%.d,$(OBJECTS) $(MAINS))
