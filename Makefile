# Everything a checkout needs; each target does its own set-up. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
KSERVE := .venv-kserve
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# The demo keeps its state in the checkout, unless told otherwise.
DEMO := $(CURDIR)/.demo
demo clean: export MODELPORT_HOME ?= $(DEMO)
demo: export MLFLOW_TRACKING_URI ?= sqlite:///$(DEMO)/mlflow.db
demo: export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help install demo test lint format bench sweep fuzz faults faults-serving clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(VENV)/.installed ## Make the virtual environment and install everything into it

# KServe's own client, for the tests alone: it wants other versions than we do.
$(KSERVE)/.installed: tests/serving/kserve-client.txt
	$(PYTHON) -m venv $(KSERVE)
	$(KSERVE)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed; install Python 3.11, or set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## Train a model, register it in MLflow and deploy it: what one cell does
	@mkdir -p $(DEMO)
	@cd $(DEMO) && $(CURDIR)/$(BIN)/python $(CURDIR)/notebooks/demo.py holdout.parquet
	@cd $(DEMO) && $(CURDIR)/$(BIN)/modelport deploy models:/breast-cancer@champion \
	    --name tumor --data holdout.parquet --target label --slo "p99<50ms, accuracy>=0.9"
	@printf '\nThe service stays up. To look at it, and to stop it:\n\n'
	@printf '  export MODELPORT_HOME=%q MLFLOW_TRACKING_URI=%q\n' "$$MODELPORT_HOME" "$$MLFLOW_TRACKING_URI"
	@printf '  %s\n' '$(BIN)/modelport status' '$(BIN)/modelport down'

test: install lint $(KSERVE)/.installed ## Check style, types and layers, then run all tests, notebooks included
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --nbval-lax notebooks tests

lint: install ## Check style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --exclude benchmarks/rivals benchmarks
	$(BIN)/lint-imports

format: install ## Put the code into shape
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: install ## Measure the runtime against its rivals, and write the README's table (half an hour)
	$(BIN)/python -m benchmarks --write-readme

sweep: install ## Carry every kind of model from training to the wire; write docs/sweep.md (ten minutes)
	$(BIN)/python -m benchmarks.sweep --write

fuzz: install ## Send the runtime 100,000 damaged requests (some minutes)
	$(BIN)/python tests/serving/fuzz.py --requests 100000

faults: install ## Kill and change the local engine under load, and count what comes of it (twenty minutes)
	$(BIN)/python -m tests.engine.faults --write-readme
	$(BIN)/python -m tests.engine.faults --random 120

faults-serving: install ## Let things go wrong under load, and count what comes of it
	$(BIN)/python tests/serving/faults.py

clean: ## Remove what the other targets made; stops the demo's engine first
	-@test -x $(BIN)/modelport && $(BIN)/modelport down
	rm -rf $(VENV) $(KSERVE) .bench .demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
