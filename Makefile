# ctrloom: `make help` lists the targets.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   := runs/demo

# Images: the engine, their name, and further options of the engine, such as --build-arg BASE=...
ENGINE  ?= $(or $(CTRLOOM_ENGINE),$(shell command -v podman || command -v docker))
IMAGE   ?= ctrloom-python
RELEASE := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMMIT  := $(shell git describe --always --dirty --exclude '*' 2>/dev/null)
IMAGE_OPTIONS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-gpu bench faults fuzz test-spark test-containers test-cluster audit lint format compile proto images image-cpu image-gpu image-serve image-spark manifests clean

help:  ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create .venv with ctrloom, its extras and the development tools

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ctrloom needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[export,gcs,mlflow,pipelines,s3,serve,tensorboard,training,trees,tuning,dev]'
	@touch $@

demo: setup  ## generate clicks with planted interactions and run the whole pipeline on them
	$(BIN)/ctrloom synth --output data/demo
	$(BIN)/ctrloom run configs/demo.yaml --output $(DEMO)

test: setup lint  ## lint, then all tests except the slow ones, a process on each core
	$(BIN)/pytest -m "not slow and not containers and not cluster" -n auto --maxprocesses 8 --dist loadfile

test-long: setup  ## the tests that take minutes
	$(BIN)/pytest -m slow

test-gpu: setup  ## kernels, captured steps and streams on a GPU
	$(BIN)/pytest tests/test_kernels.py tests/nn tests/optim tests/training/test_step.py tests/data/test_stream.py

test-spark: setup  ## the data stages on Spark (installs PySpark, 500 MB); needs Java 17 or newer
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[spark]'
	$(BIN)/pytest tests/data/test_engines.py tests/data/test_spark.py tests/storage/test_spark_in_store.py

test-containers: setup  ## the pipeline with every step in a container; needs podman or docker, and `make image-cpu`
	CTRLOOM_IMAGE=$(IMAGE):$(RELEASE) $(BIN)/pytest -m containers tests/containers

test-cluster: setup  ## every pipeline on Kubeflow Pipelines; needs kubectl, CTRLOOM_ENDPOINT, _STORE, _PIPELINE_ROOT and _IMAGE
	$(BIN)/pytest -m cluster tests/cluster -rP

bench: setup  ## speed of training and searching; BENCH='--fuxictr CLONE --peer-python PYTHON' measures peers too
	$(BIN)/python benchmarks/training $(BENCH)

audit:  ## known vulnerabilities of the pinned packages, by pip-audit; AUDIT=--strict fails without its database
	$(PYTHON) .ci/audit constraints.txt $(AUDIT)

faults: setup  ## kills (of containers too, where there is the image), flipped bytes, scarce resources, hostile input and short fuzzing, in one dated table; half an hour
	$(BIN)/python benchmarks/faults --fuzz-seconds 20 $(FAULTS)

fuzz: setup  ## fuzz every parser of untrusted bytes, FUZZ_SECONDS (300) each; needs atheris
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python benchmarks/faults --only fuzz --fuzz-seconds $(or $(FUZZ_SECONDS),300) \
	  --output benchmarks/results/fuzzing-$$(date +%F).md $(FAULTS)

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: setup  ## compile the pipelines to YAML, and write the components' READMEs
	$(BIN)/python -W ignore -m pipelines
	$(BIN)/python -W ignore -m components

proto: setup  ## compile the messages of the server's gRPC
	$(BIN)/python -m grpc_tools.protoc -I src/ctrloom/serving/server open_inference.proto \
	  --descriptor_set_out=src/ctrloom/serving/server/open_inference.binpb

images: image-cpu image-gpu  ## build the images with podman or docker (or only image-cpu, image-gpu)

image-cpu image-gpu: image-%:
	@test -n "$(ENGINE)" || { echo "make images: neither podman nor docker is on the PATH; install one" >&2; exit 1; }
	$(ENGINE) build --file docker/Dockerfile.$* --tag $(IMAGE):$(RELEASE)$(if $(filter gpu,$*),-gpu) \
	  --build-arg VERSION=$(RELEASE)$(if $(COMMIT),+$(COMMIT)) $(IMAGE_OPTIONS) .

image-serve:  ## build the image of the server
	@test -n "$(ENGINE)" || { echo "make image-serve: neither podman nor docker is on the PATH; install one" >&2; exit 1; }
	$(ENGINE) build --file docker/Dockerfile.serve --tag ctrloom-serve:$(RELEASE) \
	  --build-arg VERSION=$(RELEASE)$(if $(COMMIT),+$(COMMIT)) $(IMAGE_OPTIONS) .

image-spark:  ## add Spark to the CPU image
	@test -n "$(ENGINE)" || { echo "make image-spark: neither podman nor docker is on the PATH; install one" >&2; exit 1; }
	$(ENGINE) build --file docker/Dockerfile.spark --tag $(IMAGE):$(RELEASE)-spark \
	  --build-arg IMAGE=$(IMAGE):$(RELEASE) $(IMAGE_OPTIONS) .

manifests: setup  ## build the Kubernetes manifests into build/manifests, and validate them; needs kubectl
	$(BIN)/python manifests/render.py build/manifests
	$(BIN)/pytest tests/manifests

clean:  ## remove the environment and caches, but not data and runs
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
