# Every target that a person needs. Caches lie outside the checkout, so a second run is fast.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Tests wait more than they work. A file is run by one process, so that what its tests share is made once.
SEVERAL := -n 3 --dist loadfile

# Commands run by the hundred start a quarter faster from compiled modules, whatever the caller's environment says of them.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup proto docs lint unit integration e2e test faults soak parity bench cluster cluster-down demo manifests
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(VENV)/.ready ## make .venv with this package and the tools for its tests

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

proto: setup ## generate the modules of kubectl_build/proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. kubectl_build/proto/*.proto

manifests: setup ## write manifests/ anew from the renderer
	$(BIN)/python -m tests.unit.builder.golden

docs: setup ## write docs/cli.md anew from the commands' own help
	$(BIN)/python -m tests.unit.docs.reference

lint: setup ## ruff, mypy --strict, the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup ## tests without a cluster or a daemon
	$(PYTEST) $(SEVERAL) tests/unit

integration: setup ## tests with a real buildkitd and registry on this machine
	$(PYTEST) $(SEVERAL) tests/integration tests/parity_requests tests/parity tests/hostile

e2e: setup cluster ## tests on the local cluster
	. .cluster/env && $(PYTEST) $(SEVERAL) tests/e2e

test: setup lint cluster ## everything: lint, unit, integration, e2e, one fault of each class
	. .cluster/env && $(PYTEST) $(SEVERAL) tests --ignore tests/faults
	. .cluster/env && $(PYTEST) tests/faults

faults: setup cluster ## break builds on purpose in every way, write docs/reliability.md
	. .cluster/env && $(BIN)/python -m tests.faults

soak: setup cluster ## 200 builds by 8 workers while pods are killed, write docs/reliability.md
	. .cluster/env && $(BIN)/python -m tests.soak

parity: setup cluster ## build a corpus with docker buildx and with us, compare the digests, write docs/parity.md
	. .cluster/env && $(BIN)/python -m tests.parity

bench: setup cluster ## time us beside docker buildx, write docs/benchmarks.md
	. .cluster/env && $(BIN)/python -m benchmarks

cluster: ## start the local mixed-architecture cluster
	$(PYTHON) -m tests.cluster up

cluster-down: ## stop it and remove what it made
	$(PYTHON) -m tests.cluster down

demo: setup ## build Dockerfile.cross for six platforms in the current context's cluster, else in the local one
	sh examples/demo.sh
