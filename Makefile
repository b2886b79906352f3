# ctrloom: `make help` lists the targets.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   := runs/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint format compile clean

help:  ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## make .venv with ctrloom, its extras and the development tools

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ctrloom needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[pipelines,trees,dev]'
	@touch $@

demo: setup  ## make clicks with planted interactions and run the whole pipeline on them
	$(BIN)/ctrloom synth --output data/demo
	$(BIN)/ctrloom run configs/demo.yaml --output $(DEMO)

test: setup lint  ## lint, then all tests but the slow ones
	$(BIN)/pytest -m "not slow"

test-long: setup  ## the tests that take minutes
	$(BIN)/pytest -m slow

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: setup  ## compile the pipelines to YAML
	$(BIN)/python -m pipelines

clean:  ## remove the environment and caches; data and runs stay
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
