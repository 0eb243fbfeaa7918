# `make help` explains itself. Every target first makes .venv from requirements.lock, once for each change of that file.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
ARGS ?=
export GX_ANALYTICS_ENABLED := false

.PHONY: help
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## make .venv with everything, from the lock file

$(STAMP): requirements.lock setup.cfg
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed: make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements.lock
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: demo
demo: $(STAMP) ## watch orders arrive: Kinesis and CSV on this machine, nothing else needed (ARGS="--seconds 120")
	$(BIN)/python -m streaming_app demo $(ARGS)

.PHONY: test
test: $(STAMP) ## all tests, the slow ones in their short form
	$(BIN)/python -m pytest --durations=15 $(ARGS)

.PHONY: test-long
test-long: $(STAMP) ## crash tests and property tests in their long form (about an hour)
	$(BIN)/python -m pytest --long -m "fault or slow" $(ARGS)

.PHONY: test-drills
test-drills: $(STAMP) ## the drills: rules changed and broken under a running service, its metrics over a kill (5 minutes)
	$(BIN)/python -m pytest --drills -m drill $(ARGS)

.PHONY: test-kinesis-local
test-kinesis-local: $(STAMP) ## the Kinesis source against npm's kinesis-local, enhanced fan-out too (needs Node 18 or newer)
	npm install --silent --no-audit --no-fund --prefix build/kinesis-local kinesis-local@0.6.2
	KINESIS_LOCAL=build/kinesis-local/node_modules/kinesis-local/main.js \
		$(BIN)/python -m pytest tests/integration/test_kinesis_local.py $(ARGS)

.PHONY: lint
lint: $(STAMP) ## ruff, formatting included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

.PHONY: check
check: lint types test test-drills ## what CI runs, but for test-kinesis-local

.PHONY: bench
bench: $(STAMP) ## measure against the usual ways; writes build/bench.json (ARGS="--quick")
	$(BIN)/python -m tests.bench.run $(ARGS)

.PHONY: format
format: $(STAMP) ## let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: wheel
wheel: $(STAMP) ## build dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

.PHONY: lock
lock: $(STAMP) ## resolve requirements.lock anew from setup.cfg
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra dev --custom-compile-command "make lock" setup.cfg --output-file requirements.lock

.PHONY: clean
clean: ## remove what was built, not .venv
	rm -rf build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
