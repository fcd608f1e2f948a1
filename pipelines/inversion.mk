# The study of reconstruction: what comes back of the training images out of the weights alone, under one controlled
# score, by architecture, by loss, beside baselines and a control.
#
#   make pipeline-inversion [SIZE=quick|full] [SEEDS=LIST] [THREADS=N] [ARCHS=LIST] [DATA=fashion|mnist|cifar10|svhn|synthetic]
#                           [SHAPE=CxHxW] [FROM=DIR] [EACH=N] [EPOCHS=N] [REST=N] [STEPS=N] [DIRECT=N] [WIDTH=N] [OUT=DIR]
#
# SHAPE: of synthetic drawings, such as 3x32x32 (1x28x28). FROM: where the published files of DATA are.
# quick: one seed, a narrow generator and few steps, minutes. full: five seeds, the published width, hours.
# EACH images of every class are trained on (5), long and in full batches with coupled L2, as an attacker hopes for: EPOCHS
# for the generator's targets, REST for the direct attack's, which takes DIRECT steps (0: invert's own) and knows how many
# images there were, so that the defences are not spared where the weights do not tell.
#
# Every step is a file in OUT (results/inversion-DATA-SIZE), there whole or not at all; the rest is as in fashion.mk.
ifneq ($(filter pipeline-inversion,$(GOALS)),)

inversion_setting = $(if $(filter command%,$(origin $1)),$($1),$2)
inversion_size    := $(call inversion_setting,SIZE,quick)
ifeq ($(filter quick full,$(inversion_size)),)
$(error SIZE=$(inversion_size): quick or full expected)
endif
inversion_full     = $(if $(filter full,$(inversion_size)),$1,$2)
inversion_list     = $(subst $(comma),$(space),$1)
inversion_data    := $(call inversion_setting,DATA,fashion)
inversion_seeds   := $(call inversion_list,$(call inversion_setting,SEEDS,$(call inversion_full,1 2 3 4 5,1)))
inversion_archs   := $(call inversion_list,$(call inversion_setting,ARCHS,mlp cnn vit))
inversion_each    := $(call inversion_setting,EACH,5)
inversion_epochs  := $(call inversion_setting,EPOCHS,$(call inversion_full,2000,300))
inversion_rest    := $(call inversion_setting,REST,$(call inversion_full,2000,1000))
inversion_solve   := $(call inversion_setting,DIRECT,0)
inversion_steps   := $(call inversion_setting,STEPS,$(call inversion_full,2000,100))
inversion_width   := $(call inversion_setting,WIDTH,$(call inversion_full,64,8))
inversion_threads := $(call inversion_setting,THREADS,0)
inversion         := $(call inversion_setting,OUT,results/inversion-$(inversion_data)-$(inversion_size))
inversion_presets := all stationary-only no-stationary

inversion_note = $(call remember,$(inversion)/settings/$1,$2)
inversion_few = $(if $(filter synthetic,$(inversion_data)),--count 6000) $(if $(call inversion_setting,SHAPE),--size $(SHAPE)) \
                $(if $(call inversion_setting,FROM),--from '$(FROM)')
inversion_batch := $(shell expr $(inversion_each) \* 10)
$(call inversion_note,data,$(VERSION) $(inversion_data) $(inversion_few) $(inversion_each))
$(call inversion_note,train,$(inversion_epochs))
$(call inversion_note,rest,$(inversion_rest))
$(call inversion_note,invert,$(inversion_steps) $(inversion_width))
$(call inversion_note,solve,$(inversion_solve) $(inversion_size))
$(call inversion_note,report,$(inversion_archs) $(inversion_seeds))

.PHONY: pipeline-inversion
pipeline-inversion: $(inversion)/report.txt $(inversion)/report/summary.json
	@cat $(inversion)/report.txt

inversion_train  = $(BIN)/trainclf -q --threads $(inversion_threads) --batch $(inversion_batch)
inversion_invert = $(BIN)/invert -q --threads $(inversion_threads) -n $(shell expr $(inversion_batch) \* 2)
inversion_make   = $(inversion_invert) -m generator --batch $(inversion_batch) --steps $(inversion_steps) --width $(inversion_width)
inversion_score  = $(BIN)/ssim -q --threads $(inversion_threads) --exclude
inversion_long   = --epochs $(inversion_epochs) --l2 1e-3
inversion_word   = $(subst $(space),$(comma),$(strip $1))

# Target, files it is made of, settings, command. Each uses all processors, so they stand in a row however many jobs make runs.
define inversion_rule
$(inversion)/$(1).st: $(2:%=$(inversion)/%.st) $(inversion)/settings/$(3) | all $(inversion_before)
	@mkdir -p $$(@D)
	$(4)
endef
inversion_before :=
inversion_step = $(eval $(call inversion_rule,$1,$2,$3,$4))$(eval inversion_before := $(inversion)/$1.st)

# The images of a seed: those trained on; as many others of the same classes, for the model of other images; a control that
# holds no others (ssim leaves out the members); ten times the members, the members among them.
define inversion_images
$(call inversion_step,$1/members,,data,$$(BIN)/fetch -q $(inversion_data) $(inversion_few) --per-class $(inversion_each) --seed $1 -o $$@)
$(call inversion_step,$1/others,$1/members,data,$$(BIN)/fetch -q $(inversion_data) $(inversion_few) --exclude $$< --per-class $(inversion_each) --seed $1 -o $$@)
$(call inversion_step,$1/control,$1/others,data,$$(BIN)/fetch -q $(inversion_data) $(inversion_few) --exclude $$< --per-class $(shell expr $(inversion_each) \* 21) --seed $1 -o $$@)
$(call inversion_step,$1/rest,$1/members,data,$$(BIN)/fetch -q $(inversion_data) $(inversion_few) --exclude $$< --per-class $(shell expr $(inversion_each) \* 9) --seed $1 -o $$@)
$(call inversion_step,$1/many,$1/members $1/rest,data,$$(BIN)/tensor join -q $$(filter %.st,$$^) -o $$@)
endef

# Trained for the direct attack: little noise outside the images' span, a last layer that stays as it was drawn (see
# `make reconstruct` below), a long way to a stationary point; and the same with a last layer that is trained.
inversion_at_rest = --arch 'flatten | linear 1000 | relu | linear 10 nobias fixed | init he$$(comma)first:1e-3' --normalise mean-image --schedule cosine
inversion_settled = --epochs $(inversion_rest) --l2 1e-3 --settle lbfgs:$(inversion_rest)
inversion_trained = --arch 'homogeneous 1000 | init torch$$(comma)first:1e-3' --normalise mean-image --schedule cosine --epochs $(inversion_rest) --l2 1e-3 --settle sgd:$(inversion_rest)
inversion_model    = $(call inversion_step,$1/$2,$1/$3,$(or $5,train),$$(inversion_train) -i $$< --seed $1 $4 -o $$@)
inversion_generate = $(call inversion_step,$1/$2-$3,$1/$2,invert,$$(inversion_make) --seed $1 --preset $3 $$< -o $$@)

# Weights of our own beside the published ones, which take the classes out of the images in a few hundred steps; found on the
# first fifty images of FashionMNIST.
inversion_scaled = --preset stationary-only --beta 10 --margin 3

# Seed, architecture.
define inversion_arch
$(call inversion_model,$1,$2,members,--arch $2 $$(inversion_long))
$(foreach preset,$(inversion_presets),$(call inversion_generate,$1,$2,$(preset)))
$(call inversion_step,$1/$2-scaled,$1/$2,invert,$$(inversion_make) --seed $1 $(inversion_scaled) $$< -o $$@)
$(call inversion_step,$1/$2-miface,$1/$2,invert,$$(inversion_invert) -m miface --seed $1 $$< -o $$@)
endef

# What mlp is scored beside: its rows, and the same attack on a model of other images.
define inversion_beside
$(call inversion_step,$1/mlp-rows,$1/mlp,invert,$$(inversion_invert) -m rows $$< -o $$@)
$(call inversion_model,$1,other-images,others,--arch mlp $$(inversion_long))
$(call inversion_step,$1/other-images-scaled,$1/other-images,invert,$$(inversion_make) --seed $1 $(inversion_scaled) $$< -o $$@)
endef

# Other trainings of one network, each met by the direct attack. Ten times the images cost it a hundred times the work, so
# there it seeks fewer.
inversion_defences := trained-last adam sgd large-start early more-data
inversion_attack    = $(call inversion_step,$1/$2-attack,$1/$2,solve,$$(BIN)/invert -q --threads $(inversion_threads) -m kkt --seed $1 --images $3 --steps $(inversion_solve) $4 $$< -o $$@)
inversion_target    = $(call inversion_model,$1,$2,$3,$(inversion_at_rest) $4,rest)
define inversion_defended
$(call inversion_target,$1,target,members,$(inversion_settled))
$(call inversion_target,$1,others-target,others,$(inversion_settled))
$(call inversion_model,$1,trained-last,members,$(inversion_trained),rest)
$(call inversion_target,$1,adam,members,--epochs $(inversion_rest))
$(call inversion_target,$1,sgd,members,--epochs $(inversion_rest) --optimiser sgd --lr .05)
$(call inversion_model,$1,large-start,members,$(subst first:1e-3,first:.1,$(inversion_at_rest)) $(inversion_settled),rest)
$(call inversion_target,$1,early,members,--epochs 10 --l2 1e-3)
$(call inversion_target,$1,more-data,many,$(inversion_settled))
$(foreach defence,target others-target $(filter-out more-data,$(inversion_defences)),$(call inversion_attack,$1,$(defence),$(inversion_batch),$(call inversion_full,,--restarts 1)))
$(call inversion_attack,$1,more-data,$(shell expr $(inversion_batch) \* 10),--restarts 1 --candidates $(shell expr $(inversion_batch) \* $(call inversion_full,40,4)))
endef

# Seed, name, the attack in the first row, NAME=FILE of the rows beside it.
inversion_scored = $(call inversion_step,$1/score-$2,$1/$3 all $1/members $1/control $(foreach b,$4,$1/$(lastword $(subst =, ,$b))),report,\
    $$(inversion_score) $$< --among $(inversion)/all.st --truth $(inversion)/$1/members.st --control $(inversion)/$1/control.st --seed $1 --png $(inversion)/$1/wall-$2.png \
        $(if $4,--beside $(call inversion_word,$(foreach b,$4,$(firstword $(subst =, ,$b))=$(inversion)/$1/$(lastword $(subst =, ,$b)).st))) -o $$@)
inversion_rows = stationary-only=$1-stationary-only no-stationary=$1-no-stationary scaled=$1-scaled miface=$1-miface $(if $(filter mlp,$1),rows=mlp-rows other-images=other-images-scaled)

define inversion_seed
$(call inversion_images,$1)
$(foreach arch,$(inversion_archs),$(call inversion_arch,$1,$(arch)))
$(if $(filter mlp,$(inversion_archs)),$(call inversion_beside,$1)$(call inversion_defended,$1))
$(foreach arch,$(inversion_archs),$(call inversion_scored,$1,$(arch),$(arch)-all,$(call inversion_rows,$(arch))))
$(if $(filter mlp,$(inversion_archs)),$(call inversion_scored,$1,defences,target-attack,$(foreach d,$(inversion_defences),$d=$d-attack) other-images=others-target-attack))
endef
# A mark of the certificate is right only where its image is nearer to the member than to any other of the whole set.
$(call inversion_step,all,,data,$$(BIN)/fetch -q $(inversion_data) $(inversion_few) -o $$@)
$(foreach seed,$(inversion_seeds),$(call inversion_seed,$(seed)))

# All seeds together, one table an architecture: the first row is the preset all.
inversion_tables := $(inversion_archs) $(if $(filter mlp,$(inversion_archs)),defences)
$(foreach t,$(inversion_tables),$(call inversion_step,pooled-$t,$(foreach s,$(inversion_seeds),$s/score-$t),report,$$(BIN)/ssim --pool $$(filter %.st,$$^) -o $$@ 2> $(inversion)/pooled-$t.txt))

$(inversion)/report.txt: $(inversion_tables:%=$(inversion)/pooled-%.st)
	@for t in $(inversion_tables); do echo "$$t: the attack ($$(case $$t in defences) echo direct ;; *) echo generator with every loss ;; esac)) in the first row, others beside it"; grep -v wall $(inversion)/pooled-$$t.txt; done > $@.new && mv $@.new $@
$(inversion)/report/summary.json: $(foreach s,$(inversion_seeds),$(inversion_archs:%=$(inversion)/$s/%.st) $(inversion_tables:%=$(inversion)/$s/score-%.st)) | all
	$(BIN)/report -q $^ -o $(@D) > /dev/null
	@touch $@

endif

# The direct attack in one step, on any small set of images: `trainclf` by gradient descent from random weights, what
# `tensor release` leaves of the file, and `invert` on that alone. The last layer stays as it was drawn (Hoffer, Hubara &
# Soudry 2018): where it is trained too, neurons that are active for the same images become one another on the way to a
# stationary point, and what they told of the images is lost.
#
#   make reconstruct MEMBERS=FILE OUT=FILE [SEED=N] [MODEL=FILE] [THREADS=N] [NEURONS=N] [CLASSES=N] [NORMALISE=WORD] [TEST=FILE]
#
# NEURONS: of the hidden layer, 1000; twenty for each image serve well. NORMALISE: mean-image, which gives the mean image away,
# or scalar. TEST: images to print the accuracy on.
ifneq ($(filter reconstruct,$(GOALS)),)
reconstruct_setting = $(if $(filter command%,$(origin $1)),$($1),$2)
ifeq ($(and $(call reconstruct_setting,MEMBERS),$(call reconstruct_setting,OUT)),)
$(error make reconstruct MEMBERS=FILE OUT=FILE [SEED=N] [MODEL=FILE])
endif
reconstruct_arch = flatten | linear $(call reconstruct_setting,NEURONS,1000) | relu | linear $(call reconstruct_setting,CLASSES,10) nobias fixed | init he,first:1e-3
reconstruct_all  = --seed $(call reconstruct_setting,SEED,0) --threads $(call reconstruct_setting,THREADS,0)
.PHONY: reconstruct
reconstruct: all
	@set -e; place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; trap 'exit 130' INT TERM; \
	$(BIN)/trainclf -i '$(MEMBERS)' $(if $(call reconstruct_setting,TEST),--test '$(TEST)') --arch '$(reconstruct_arch)' --normalise $(call reconstruct_setting,NORMALISE,mean-image) \
	    --l2 1e-3 --batch 65536 --schedule cosine --epochs 300 --settle lbfgs:1000 --stationarity $(reconstruct_all) -o "$$place/trained.st"; \
	$(BIN)/tensor release "$$place/trained.st" -o "$$place/model.st"; \
	$(BIN)/invert "$$place/model.st" $(reconstruct_all) -o '$(OUT)'; \
	$(if $(call reconstruct_setting,MODEL),cp "$$place/model.st" '$(MODEL).new' && mv '$(MODEL).new' '$(MODEL)')
endif
