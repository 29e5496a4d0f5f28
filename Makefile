# The front door. Every target sets up what it needs; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-cluster test check bench generate lock image clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(READY) ## make .venv with every pinned dependency (the other targets do it by themselves)

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "hitl needs Python 3.11 or newer, this is %d.%d; try: make PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## the main job on this machine: some thirty calls, a few of them yours to decide
	$(BIN)/hitl demo

demo-cluster: $(READY) ## the same on a real API server: two replicas, pods with tokens, kubectl hitl, and what is killed in between
	$(BIN)/python -m control_plane.demo

# The programs of others come first and alone, so that who builds them for minutes sees it, and a failure says why.
test: $(READY) ## unit, tables, properties, life cycle, integration, the chart, and a real API server (what they need is built once, about ten minutes)
	$(BIN)/python -m control_plane.provide
	$(BIN)/python -m charts.tools
	$(BIN)/python -m pytest -n auto --dist loadgroup

check: $(READY) ## format, lint, types, import contracts, generated files, protos, the chart (its tools are built once, about six minutes)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	./proto/generate --check
	$(BIN)/python crds/generate.py --check
	$(BIN)/python -m charts.generate --check
	$(BIN)/python -m charts.lint

bench: $(READY) ## the budgets of docs/benchmarks.md, as ratios side by side in one run
	$(BIN)/python -m benchmarks

generate: $(READY) ## write again what is made from protos, CRDs and what the chart installs
	./proto/generate
	$(BIN)/python crds/generate.py
	$(BIN)/python -m charts.generate

LOCK := $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-options --no-header

# The images get of it what their program needs, in the same versions.
lock: $(READY) ## write requirements/*.txt again from pyproject.toml
	$(LOCK) --extra sidecar --extra operator --extra cli --output-file requirements/dev.txt pyproject.toml requirements/dev.in
	$(LOCK) --constraint requirements/dev.txt --extra sidecar --output-file requirements/sidecar.txt pyproject.toml
	$(LOCK) --constraint requirements/dev.txt --extra operator --output-file requirements/operator.txt pyproject.toml
	$(LOCK) --constraint requirements/dev.txt --output-file requirements/build.txt requirements/build.in

image: $(READY) ## images of sidecar and operator: by Docker, or without an engine as archives under dist/images
	$(BIN)/python -m images

clean: ## remove .venv and caches of this checkout
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
