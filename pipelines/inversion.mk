# The study of reconstruction: what comes back of the training images out of the weights alone, under one controlled
# score, by architecture, by loss, beside baselines and a control; and what the attacked models are worth on other images,
# and tell of their members by the span of the first layer.
#
#   make pipeline-inversion [SIZE=quick|full] [SEEDS=LIST] [THREADS=N] [ARCHS=LIST] [DATA=fashion|mnist|cifar10|svhn|synthetic]
#                           [SHAPE=CxHxW] [FROM=DIR] [EACH=N] [EPOCHS=N] [REST=N] [STEPS=N] [DIRECT=N] [WIDTH=N] [OUT=DIR]
#
# SHAPE: of synthetic drawings, such as 3x32x32 (1x28x28). FROM: where the published files of DATA are.
# quick: one seed, a narrow generator and few steps, minutes. full: five seeds, half the published width and a
# fifth of the steps, hours (the stationary loss still falls then); WIDTH=64 STEPS=2000 is the published size, a day.
# EACH images of every class are trained on (5), long and in full batches with coupled L2, as an attacker hopes for: EPOCHS
# for the generator's targets, REST for the direct attack's, which takes DIRECT steps (0: invert's own) and knows how many
# images there were, so that the defences are not spared where the weights do not tell.
#
# Every step is a file in OUT (results/inversion-DATA-SIZE), there whole or not at all; the rest is as in fashion.mk.
ifneq ($(filter pipeline-inversion,$(GOALS)),)

# ---- settings

inversion_size    := $(call setting,SIZE,quick)
ifeq ($(filter quick full,$(inversion_size)),)
$(error SIZE=$(inversion_size): quick or full expected)
endif
inversion_full     = $(if $(filter full,$(inversion_size)),$1,$2)
inversion_list     = $(subst $(comma),$(space),$1)
inversion_data    := $(call setting,DATA,fashion)
inversion_seeds   := $(call inversion_list,$(call setting,SEEDS,$(call inversion_full,1 2 3 4 5,1)))
inversion_archs   := $(call inversion_list,$(call setting,ARCHS,mlp cnn vit))
inversion_each    := $(call setting,EACH,5)
inversion_epochs  := $(call setting,EPOCHS,$(call inversion_full,2000,300))
inversion_rest    := $(call setting,REST,$(call inversion_full,2000,1000))
inversion_solve   := $(call setting,DIRECT,0)
inversion_steps   := $(call setting,STEPS,$(call inversion_full,400,100))
inversion_width   := $(call setting,WIDTH,$(call inversion_full,32,8))
inversion_threads := $(call setting,THREADS,0)
inversion         := $(call setting,OUT,results/inversion-$(inversion_data)-$(inversion_size))
# With mlp come the networks for the direct attack.
inversion_direct  := $(filter mlp,$(inversion_archs))

inversion_note = $(call remember,$(inversion)/settings/$1,$2)
inversion_few = $(if $(filter synthetic,$(inversion_data)),--count 6000) $(if $(call setting,SHAPE),--size $(SHAPE)) \
                $(if $(call setting,FROM),--from '$(FROM)')
$(call inversion_note,data,$(VERSION) $(inversion_data) $(inversion_few) $(inversion_each))
$(call inversion_note,train,$(inversion_epochs))
$(call inversion_note,rest,$(inversion_rest))
$(call inversion_note,invert,$(inversion_steps) $(inversion_width))
$(call inversion_note,solve,$(inversion_solve) $(inversion_size))
$(call inversion_note,report,$(inversion_archs) $(inversion_seeds))

.PHONY: pipeline-inversion
pipeline-inversion: $(inversion)/report.txt
	@cat $(inversion)/report.txt

# ---- how a step is written
#
# $(call inversion_step,NAME,INPUTS,SETTINGS,COMMAND): OUT/NAME.st is what COMMAND writes to -o, again where an OUT/INPUT.st or
# OUT/settings/SETTINGS is newer; $$< in it is the first input. Each uses all processors, so they stand in a row however many
# jobs make runs.
define inversion_rule
$(inversion)/$(1).st: $(2:%=$(inversion)/%.st) $(inversion)/settings/$(3) | all $(inversion_before)
	@mkdir -p $$(@D)
	$(4) -o $$@
endef
inversion_before :=
inversion_step = $(eval $(call inversion_rule,$1,$2,$3,$4))$(eval inversion_before := $(inversion)/$1.st)

inversion_times  = $(shell expr $(inversion_each) \* $1)
inversion_count := $(call inversion_times,10)
inversion_common = -q --threads $(inversion_threads)
inversion_fetch  = $(BIN)/fetch -q $(inversion_data) $(inversion_few)
inversion_train  = $(BIN)/trainclf $(inversion_common) --batch $(inversion_count)
inversion_invert = $(BIN)/invert $(inversion_common)

# ---- images

# Of a seed: the whole set (drawings differ by the seed): a mark of the certificate is right only where its image is nearer to the
# member than to any other of it, and a membership test tells the members from all others of it. Those trained on; as many
# others of the same classes, for models of other images; a control that holds no others (ssim leaves out the members); ten
# times the members, the members among them.
define inversion_images
$(call inversion_step,$1/all,,data,$(inversion_fetch) --seed $1)
$(call inversion_step,$1/members,,data,$(inversion_fetch) --per-class $(inversion_each) --seed $1)
$(call inversion_step,$1/others,$1/members,data,$(inversion_fetch) --exclude $$< --per-class $(inversion_each) --seed $1)
$(call inversion_step,$1/control,$1/others,data,$(inversion_fetch) --exclude $$< --per-class $(call inversion_times,21) --seed $1)
$(call inversion_step,$1/rest,$1/members,data,$(inversion_fetch) --exclude $$< --per-class $(call inversion_times,9) --seed $1)
$(call inversion_step,$1/many,$1/members $1/rest,data,$(BIN)/tensor join -q $$(filter %.st,$$^))
endef

$(call inversion_step,test,,data,$(inversion_fetch) --split test)

# ---- models

# Seed, name, the images trained on, settings, options. With each model come its accuracy on the test set, and what the span of
# its first layer tells of the seed's members; a model of other images is the control of that.
inversion_asked = $(inversion)/$1/$(if $(filter many,$2),many,members).st
define inversion_model
$(call inversion_step,$1/$2,$1/$3,$4,$(inversion_train) -i $$< --seed $1 $5)
$(call inversion_step,$1/clean/$2,$1/$2 test,data,$(BIN)/attack $(inversion_common) $$< -i $(inversion)/test.st -m clean)
$(call inversion_step,$1/mia/$2,$1/$2 $1/all,data,\
    $(BIN)/mia $(inversion_common) $$< -m span -i $(inversion)/$1/all.st --members $(call inversion_asked,$1,$3))
endef

# For the generator: plain training.
inversion_long = --epochs $(inversion_epochs) --l2 1e-3

# For the direct attack: little noise outside the images' span, a last layer that stays as it was drawn (see `make
# reconstruct` below), a long way to a stationary point. The defences are other trainings of the same network.
inversion_net      = --arch 'flatten | linear 1000 | relu | linear classes nobias fixed | init he,first:$1' \
    --normalise mean-image --schedule cosine
inversion_settled  = --epochs $(inversion_rest) --l2 1e-3 --settle lbfgs:$(inversion_rest)
inversion_at_rest  = $(call inversion_net,1e-3) $(inversion_settled)
inversion_trained  = --arch 'homogeneous 1000 | init torch,first:1e-3' --normalise mean-image --schedule cosine \
    --epochs $(inversion_rest) --l2 1e-3 --settle sgd:$(inversion_rest)
inversion_defences := trained-last adam sgd large-start early more-data
inversion_targets  := target others-target $(inversion_defences)
define inversion_networks
$(call inversion_model,$1,target,members,rest,$(inversion_at_rest))
$(call inversion_model,$1,others-target,others,rest,$(inversion_at_rest))
$(call inversion_model,$1,trained-last,members,rest,$(inversion_trained))
$(call inversion_model,$1,adam,members,rest,$(call inversion_net,1e-3) --epochs $(inversion_rest))
$(call inversion_model,$1,sgd,members,rest,$(call inversion_net,1e-3) --epochs $(inversion_rest) --optimiser sgd --lr .05)
$(call inversion_model,$1,large-start,members,rest,$(call inversion_net,.1) $(inversion_settled))
$(call inversion_model,$1,early,members,rest,$(call inversion_net,1e-3) --epochs 10 --l2 1e-3)
$(call inversion_model,$1,more-data,many,rest,$(inversion_at_rest))
endef

# ---- attacks

# Seed, model, name, options: a generator, with twice as many images as were trained on.
inversion_many     = -n $(call inversion_times,20)
inversion_generate = $(call inversion_step,$1/$2-$3,$1/$2,invert,$(inversion_invert) $(inversion_many) -m generator \
    --batch $(inversion_count) --steps $(inversion_steps) --width $(inversion_width) --seed $1 $4 $$<)
inversion_presets := all stationary-only no-stationary
# Weights of our own beside the published ones, which take the classes out of the images in a few hundred steps; found on the
# first fifty images of FashionMNIST.
inversion_scaled   = $(call inversion_generate,$1,$2,scaled,--preset stationary-only --beta 10 --margin 3)

# Seed, architecture: a model and every generator against it.
define inversion_arch
$(call inversion_model,$1,$2,members,train,--arch $2 $(inversion_long))
$(foreach preset,$(inversion_presets),$(call inversion_generate,$1,$2,$(preset),--preset $(preset)))
$(call inversion_scaled,$1,$2)
$(call inversion_step,$1/$2-miface,$1/$2,invert,$(inversion_invert) $(inversion_many) -m miface --seed $1 $$<)
endef

# What mlp is scored beside: its rows, and the same attack on a model of other images.
define inversion_beside
$(call inversion_step,$1/mlp-rows,$1/mlp,invert,$(inversion_invert) $(inversion_many) -m rows $$<)
$(call inversion_model,$1,other-images,others,train,--arch mlp $(inversion_long))
$(call inversion_scaled,$1,other-images)
endef

# The direct attack. Ten times the images cost it a hundred times the work, so there it seeks fewer.
inversion_solved = $(call inversion_step,$1/$2-attack,$1/$2,solve,\
    $(inversion_invert) -m kkt --seed $1 --images $3 --steps $(inversion_solve) $4 $$<)
inversion_once  := $(call inversion_full,,--restarts 1)
inversion_fewer := --restarts 1 --candidates $(call inversion_times,$(call inversion_full,200,40))
define inversion_attacks
$(foreach t,$(filter-out more-data,$(inversion_targets)),$(call inversion_solved,$1,$t,$(inversion_count),$(inversion_once)))
$(call inversion_solved,$1,more-data,$(call inversion_times,100),$(inversion_fewer))
endef

# ---- scores

# Seed, name, the attack in the first row, NAME=FILE of the rows beside it.
inversion_named = $(foreach row,$2,$(firstword $(subst =, ,$(row)))=$(inversion)/$1/$(lastword $(subst =, ,$(row))).st)
inversion_files = $(foreach row,$2,$1/$(lastword $(subst =, ,$(row))))
inversion_score = $(call inversion_step,$1/score-$2,$1/$3 $1/all $1/members $1/control $(call inversion_files,$1,$4),report,\
    $(BIN)/ssim $(inversion_common) $$< --among $(inversion)/$1/all.st --truth $(inversion)/$1/members.st \
        --control $(inversion)/$1/control.st --exclude --seed $1 --png $(inversion)/$1/wall-$2.png \
        --beside $(subst $(space),$(comma),$(strip $(call inversion_named,$1,$4))))
inversion_rows  = $(foreach row,stationary-only no-stationary scaled miface,$(row)=$1-$(row)) \
    $(if $(filter mlp,$1),rows=mlp-rows other-images=other-images-scaled)
inversion_defended = $(foreach d,$(inversion_defences),$d=$d-attack) other-images=others-target-attack

# ---- all of it

define inversion_seed
$(call inversion_images,$1)
$(foreach arch,$(inversion_archs),$(call inversion_arch,$1,$(arch)))
$(if $(inversion_direct),$(call inversion_beside,$1)$(call inversion_networks,$1)$(call inversion_attacks,$1))
$(foreach arch,$(inversion_archs),$(call inversion_score,$1,$(arch),$(arch)-all,$(call inversion_rows,$(arch))))
$(if $(inversion_direct),$(call inversion_score,$1,defences,target-attack,$(inversion_defended)))
endef
$(foreach seed,$(inversion_seeds),$(call inversion_seed,$(seed)))

# All seeds together, one table an architecture: the first row is the preset all.
inversion_tables := $(inversion_archs) $(if $(inversion_direct),defences)
inversion_pool    = $(call inversion_step,pooled-$1,$(foreach s,$(inversion_seeds),$s/score-$1),report,\
    $(BIN)/ssim --pool $$(filter %.st,$$^) 2> $(inversion)/pooled-$1.txt)
$(foreach t,$(inversion_tables),$(call inversion_pool,$t))

# The page, whose tables of models and of membership go into the report too; its scores are of single seeds.
inversion_models := $(inversion_archs) $(if $(inversion_direct),other-images $(inversion_targets))
inversion_shown  := $(inversion_models) $(inversion_models:%=clean/%) $(inversion_models:%=mia/%) $(inversion_tables:%=score-%)
inversion_inputs := $(foreach s,$(inversion_seeds),$(inversion_shown:%=$(inversion)/$s/%.st))
$(inversion)/report/summary.json: $(inversion_inputs) $(inversion)/settings/report | all
	$(BIN)/report -q --title 'What comes back of training images' $(inversion_inputs) -o $(@D) > $(inversion)/page.txt
	@touch $@

inversion_attacker = $(if $(filter defences,$1),direct,generator with every loss)
$(inversion)/report.txt: $(inversion_tables:%=$(inversion)/pooled-%.st) $(inversion)/report/summary.json
	@{ $(foreach t,$(inversion_tables),echo "$t: the attack ($(call inversion_attacker,$t)) in the first row, others beside it"; \
	       grep -v wall $(inversion)/pooled-$t.txt; ) \
	   echo "the models: accuracy on the images trained on and on the test set; members told from others by the first layer"; \
	   sed '/^reconstruction /,$$d' $(inversion)/page.txt; } > $@.new && mv $@.new $@

endif

# The direct attack in one step, on any small set of images: `trainclf` by gradient descent from random weights, what
# `tensor release` leaves of the file, and `invert` on that alone. The last layer stays as it was drawn (Hoffer, Hubara &
# Soudry 2018): where it is trained too, neurons that are active for the same images become one another on the way to a
# stationary point, and what they told of the images is lost.
#
#   make reconstruct MEMBERS=FILE OUT=FILE [SEED=N] [MODEL=FILE] [THREADS=N] [NEURONS=N] [NORMALISE=WORD] [TEST=FILE]
#
# NEURONS: of the hidden layer, 1000; twenty for each image serve well. NORMALISE: mean-image, which gives the mean image away,
# or scalar. TEST: images to print the accuracy on.
ifneq ($(filter reconstruct,$(GOALS)),)
ifeq ($(and $(call setting,MEMBERS),$(call setting,OUT)),)
$(error make reconstruct MEMBERS=FILE OUT=FILE [SEED=N] [MODEL=FILE])
endif
reconstruct_arch = flatten | linear $(call setting,NEURONS,1000) | relu | linear classes nobias fixed | init he,first:1e-3
reconstruct_all  = --seed $(call setting,SEED,0) --threads $(call setting,THREADS,0)
.PHONY: reconstruct
reconstruct: all
	@set -e; for file in '$(OUT)' '$(call setting,MODEL,$(OUT))'; do \
	    [ -w "$$(dirname "$$file")" ] || { echo "$$file: its folder is not there, or cannot be written to" >&2; exit 4; }; \
	done; place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; trap 'exit 130' INT TERM; \
	$(BIN)/trainclf -i '$(MEMBERS)' $(if $(call setting,TEST),--test '$(TEST)') --arch '$(reconstruct_arch)' --normalise $(call setting,NORMALISE,mean-image) \
	    --l2 1e-3 --batch 65536 --schedule cosine --epochs 300 --settle lbfgs:1000 --stationarity $(reconstruct_all) -o "$$place/trained.st"; \
	$(BIN)/tensor release "$$place/trained.st" -o "$$place/model.st"; \
	$(BIN)/invert "$$place/model.st" $(reconstruct_all) -o '$(OUT)'; \
	$(if $(call setting,MODEL),cp "$$place/model.st" '$(MODEL).new' && mv '$(MODEL).new' '$(MODEL)')
endif
