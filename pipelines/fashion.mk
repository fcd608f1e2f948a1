# The first study: classifiers of FashionMNIST, what they reach and what attacks leave of it.
#
#   make pipeline-fashion [SIZE=quick|full] [EPOCHS=N] [SEED=N] [EPS=LIST] [THREADS=N] [ARCHS=LIST]
#                         [TRAIN=N] [TEST=N] [DATA=fashion|mnist|cifar10|synthetic] [OUT=DIR]
#
# quick: 12 000 and 3 000 images, 3 epochs, minutes. full: 60 000 and 10 000, 10 epochs.
#
# Every step is a file in OUT (results/DATA-SIZE), there whole or not at all. A second make does nothing; a changed
# setting runs again what depends on it: each step has its settings in OUT/settings/, a file that changes only with
# them. A program that was built again is no reason to repeat hours of work: remove OUT for that.
ifneq ($(filter pipeline-fashion,$(GOALS)),)

fashion_size    := $(call setting,SIZE,quick)
ifeq ($(filter quick full,$(fashion_size)),)
$(error SIZE=$(fashion_size): quick or full expected)
endif
full_or          = $(if $(filter full,$(fashion_size)),$1,$2)
fashion_data    := $(call setting,DATA,fashion)
fashion_train   := $(call setting,TRAIN,$(call full_or,60000,12000))
fashion_test    := $(call setting,TEST,$(call full_or,10000,3000))
fashion_epochs  := $(call setting,EPOCHS,$(call full_or,10,3))
fashion_seed    := $(call setting,SEED,0)
fashion_eps     := $(call setting,EPS,.1$(comma).2$(comma).3)
fashion_archs   := $(subst $(comma),$(space),$(call setting,ARCHS,mlp cnn vit))
fashion_threads := $(call setting,THREADS,0)
fashion         := $(call setting,OUT,results/$(fashion_data)-$(fashion_size))

# A directory of one's own for each run: what it was made with, one file a step.
fashion_note = $(call remember,$(fashion)/settings/$1,$2)
fashion_limit = $(if $(filter synthetic,$(fashion_data)),--count,--limit) $1
$(call fashion_note,data,$(VERSION) $(fashion_data))
$(call fashion_note,train-set,$(fashion_train))
$(call fashion_note,test-set,$(fashion_test))
$(call fashion_note,train,$(fashion_epochs) $(fashion_seed) cosine)
$(call fashion_note,attack,$(fashion_eps) $(fashion_seed))
$(call fashion_note,report,$(fashion_archs))

.PHONY: pipeline-fashion
pipeline-fashion: $(fashion)/report/summary.json
	@cat $(fashion)/report.txt

$(fashion)/train-set.st: $(fashion)/settings/data $(fashion)/settings/train-set | all
	$(BIN)/fetch $(fashion_data) --split train $(call fashion_limit,$(fashion_train)) -o $@
$(fashion)/test-set.st: $(fashion)/settings/data $(fashion)/settings/test-set | all
	$(BIN)/fetch $(fashion_data) --split test $(call fashion_limit,$(fashion_test)) -o $@

# Each of these uses all processors, so they stand in a row however many jobs make runs.
define fashion_rules
$$(fashion)/$(1).st: $$(fashion)/train-set.st $$(fashion)/test-set.st $$(fashion)/settings/train | all $(2)
	$$(BIN)/trainclf -i $$(fashion)/train-set.st --test $$(fashion)/test-set.st --arch $(1) --epochs $$(fashion_epochs) --schedule cosine \
	    --seed $$(fashion_seed) --threads $$(fashion_threads) -o $$@
$$(fashion)/attack-$(1).st: $$(fashion)/$(1).st $$(fashion)/test-set.st $$(fashion)/settings/attack | all
	$$(BIN)/attack $$(fashion)/$(1).st -i $$(fashion)/test-set.st --method clean,noise,fgsm,pgd --eps $$(fashion_eps) \
	    --seed $$(fashion_seed) --threads $$(fashion_threads) --png $$(fashion)/attack-$(1).png -o $$@
endef
fashion_before :=
$(foreach arch,$(fashion_archs),$(eval $(call fashion_rules,$(arch),$(fashion_before)))\
    $(eval fashion_before := $(fashion)/attack-$(arch).st))

$(fashion)/report/summary.json: $(fashion_archs:%=$(fashion)/%.st) $(fashion_archs:%=$(fashion)/attack-%.st) $(fashion)/settings/report | all
	$(BIN)/report $(filter %.st,$^) -o $(@D) > $(fashion)/report.txt
	@touch $@

endif
