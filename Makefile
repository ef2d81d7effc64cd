# Everything here works in a new clone: each target sets up what it needs, in .venv and widgets/node_modules.
# PYTHON names the interpreter to build on. PYTEST_ARGS goes to pytest, e.g. make pytest PYTEST_ARGS="tests/core -x";
# BENCH_ARGS to the benchmarks, e.g. make bench BENCH_ARGS="--only drain,latency --quick".

PYTHON ?= python3
PYTEST_ARGS ?=
# Two files at a time, one that computes and one that waits: see tests/side_by_side.py.
# A test's own output: make pytest PARALLEL= PYTEST_ARGS=-s
PARALLEL ?= --numprocesses 2 --dist loadfile
BENCH_ARGS ?=
QUICKSTART := notebooks/01_quickstart.ipynb
BIN := .venv/bin
BOOTSTRAP := PYTHON='$(PYTHON)' scripts/bootstrap.sh
# What runs finds the environment's own `omniq` and `jupyter`, and its Node where the machine has none new enough.
WITH_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"
NPM := $(WITH_VENV) npm --prefix widgets run --silent
step = @printf '\n==> %s\n' '$(1)'

.DEFAULT_GOAL := help
# The steps share one environment, and their output should be read from top to bottom.
.NOTPARALLEL:
.PHONY: help clusters demo lab test lint types layers sync-check widgets-check pytest bench format sync widgets constraints \
	clean distclean setup setup-lab setup-browser setup-node

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup-lab ## run the quickstart notebook, say what it did, and write it to build/ as a notebook and a page
	@$(WITH_VENV) python scripts/demo.py $(QUICKSTART)

lab: setup-lab ## open the quickstart notebook in JupyterLab
	@$(WITH_VENV) jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(QUICKSTART)

test: setup setup-browser setup-node lint types layers sync-check widgets-check pytest ## every check and every test

lint: setup ## ruff: rules and format
	$(call step,ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(call step,mypy)
	@$(BIN)/mypy

layers: setup ## import-linter: dependencies point one way
	$(call step,import-linter)
	@$(BIN)/lint-imports --no-logo

sync-check: setup ## what is generated is up to date: the synchronous classes, the README's table of backends
	$(call step,generated files)
	@$(BIN)/python scripts/generate_sync.py --check
	@$(BIN)/python scripts/backends_table.py --check

widgets-check: setup-node ## the front end: types, lint, unit tests, size, and that the committed bundle is its build
	$(call step,widgets: types)
	@$(NPM) typecheck
	$(call step,widgets: lint)
	@$(NPM) lint
	$(call step,widgets: tests)
	@$(NPM) test
	$(call step,widgets: size)
	@$(NPM) size
	$(call step,widgets: bundle)
	@$(NPM) check-bundle

pytest: setup setup-browser setup-node ## every Python test, the notebooks and the browser among them
	$(call step,pytest)
	@$(WITH_VENV) pytest $(PARALLEL) $(PYTEST_ARGS)

clusters: setup ## the whole conformance suite on Redis Cluster, three NATS servers, and S3 by fsspec (takes some minutes)
	$(call step,clusters)
	@$(WITH_VENV) pytest -m cluster tests/conformance

bench: ## the benchmarks, side by side with peers (BENCH_ARGS=--help lists the options)
	@$(BOOTSTRAP) bench --browser
	$(call step,benchmarks)
	@$(WITH_VENV) python tests/bench/run.py $(BENCH_ARGS)

format: setup setup-node ## put Python and TypeScript into the project's format
	@$(BIN)/ruff check --fix --exit-zero .
	@$(BIN)/ruff format .
	@$(NPM) format

sync: setup ## write what is generated anew: the synchronous classes, the README's table of backends
	@$(BIN)/python scripts/generate_sync.py
	@$(BIN)/python scripts/backends_table.py

widgets: setup-node ## build the front end's bundle
	@$(NPM) build

constraints: setup ## write constraints.txt anew with today's versions
	@$(WITH_VENV) scripts/update_constraints.sh

clean: ## remove outputs and caches, but no .omniq: those are people's tasks
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find omniq_nb tests scripts notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment and the front end's packages as well
	rm -rf .venv widgets/node_modules tests/servers/node_modules

setup:
	@$(BOOTSTRAP) test

setup-lab:
	@$(BOOTSTRAP) lab

setup-browser: setup
	@$(BOOTSTRAP) test --browser

setup-node: setup
	@$(BOOTSTRAP) test --node
