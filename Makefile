# `make help` lists what can be made; every target calls the console script `ecg-transfer`.

UPSTREAM ?= cpsc2018
DOWNSTREAM ?= ptb
BACKBONE ?= resnet1d18
RECIPE ?= paper
SEED ?= 0
DEVICES ?= 1
OVERRIDES ?=
STUDY ?= quick
PYTHON ?= python3
PORT ?= 6006
FUZZ_SECONDS ?= 300
BENCH ?=

VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
RUN := $(BIN)/ecg-transfer
TOOLS := .venv-tools
TOOLS_READY := $(TOOLS)/.ready
OPTIONS = --backbone $(BACKBONE) --recipe $(RECIPE) --seed $(SEED) trainer.devices=$(DEVICES) $(OVERRIDES)

.DEFAULT_GOAL := help
.PHONY: help setup demo pretrain finetune scratch compare study report runs corpora tensorboard test bench chaos lint format fuzz lock audit sbom clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables: UPSTREAM=$(UPSTREAM) DOWNSTREAM=$(DOWNSTREAM) BACKBONE=$(BACKBONE) RECIPE=$(RECIPE) SEED=$(SEED) DEVICES=$(DEVICES) STUDY=$(STUDY)"
	@echo '             OVERRIDES="optim.max_updates=200 data.subset=100"'

# Versions come from .constraints.txt. The hashes of .requirements.lock are those of PyPI's wheels alone, and PyTorch's own
# index, which has the builds without CUDA, serves others: `make audit` compares versions with the lock.
setup: $(READY)  ## Create the environment in .venv and install everything

$(READY): pyproject.toml .constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint .constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint .constraints.txt --editable . --group dev
	@touch $(READY)

demo: $(READY)  ## Simulate, pre-train, fine-tune, compare: one to four minutes on 2 cores
	$(BIN)/python experiments/demo.py

pretrain: $(READY)  ## Pre-train BACKBONE on UPSTREAM
	$(RUN) pretrain $(UPSTREAM) $(OPTIONS)

finetune: $(READY)  ## Fine-tune on DOWNSTREAM from UPSTREAM's pre-training
	$(RUN) finetune $(DOWNSTREAM) --upstream $(UPSTREAM) $(OPTIONS)

scratch: $(READY)  ## Train on DOWNSTREAM from random weights
	$(RUN) scratch $(DOWNSTREAM) $(OPTIONS)

compare: $(READY)  ## Fine-tuning beside scratch, for all finished runs
	$(RUN) compare

study: $(READY)  ## Do the runs of experiments/STUDY.yaml that are not done
	$(RUN) study run experiments/$(STUDY).yaml

report: $(READY)  ## Judge and draw experiments/STUDY.yaml: one HTML page
	$(RUN) study report experiments/$(STUDY).yaml

runs: $(READY)  ## List the runs and their scores
	$(RUN) runs

corpora: $(READY)  ## List the corpora: on disk? complete?
	$(RUN) corpora

tensorboard: $(READY)  ## Show all curves at http://localhost:PORT (this machine only)
	$(BIN)/tensorboard --logdir checkpoints --host 127.0.0.1 --port $(PORT)

test: $(READY)  ## Run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

chaos: $(READY)  ## Kill, fill, cut, crowd: is anything lost? Under 15 minutes on 2 cores
	$(BIN)/python experiments/chaos

bench: $(READY)  ## Measure speed on this machine: a table, saved as JSON
	$(BIN)/python experiments/benchmarks/bench.py $(BENCH)

lint: $(READY)  ## Check style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(READY)  ## Mutated files against every reader for FUZZ_SECONDS: inputs tried, findings
	$(BIN)/python -m pip install --quiet --constraint .constraints.txt --group fuzz
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS)

$(TOOLS_READY): pyproject.toml
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(TOOLS)/bin/python -m pip install --quiet --group supply
	@touch $(TOOLS_READY)

lock: $(TOOLS_READY)  ## Pin all dependencies with hashes, for all platforms, in .requirements.lock
	$(TOOLS)/bin/uv pip compile pyproject.toml --all-extras --group dev --group fuzz --universal --generate-hashes \
		--python-version 3.11 --constraint .constraints.txt --custom-compile-command "make lock" \
		--quiet --output-file .requirements.lock

audit: $(READY) $(TOOLS_READY)  ## Compare what is installed with the lock file and with known flaws
	$(BIN)/python experiments/audit.py

sbom: $(READY) $(TOOLS_READY)  ## A bill of materials of .venv (CycloneDX) in .sbom.json
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o .sbom.json $(BIN)/python

clean:  ## Remove the environment, caches and simulated ECGs; runs and real data stay
	rm -rf $(VENV) $(TOOLS) .fuzz .sbom.json .mypy_cache .pytest_cache .ruff_cache .import_linter_cache data/cache data/simulated
