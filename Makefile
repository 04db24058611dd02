# Two environments: the main one, and Triton's, whose numpy must be older than 2.
PYTHON ?= python3
TRITON_PYTHON ?= $(PYTHON)
VENV := .venv
TRITON_VENV := .venv-triton
MAIN_READY := $(VENV)/.ready
TRITON_READY := $(TRITON_VENV)/.ready
DEMO := build/demo
CHAOS := build/chaos
BENCH := build/bench
# A folder of JPEGs of one's own for the benchmarks: make bench PHOTOS=…
PHOTOS ?=
OWN := $(if $(PHOTOS),--photos $(PHOTOS))
PIP := bin/python -m pip --disable-pip-version-check install --quiet --quiet

.DEFAULT_GOAL := help
.PHONY: help setup check-system check-tests demo test chaos bench bench-full check lint clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check-system: ## check what the operating system must have, with the cure
	@$(PYTHON) infra/check_system.py --python $(PYTHON) --triton-python $(TRITON_PYTHON)

# What only the tests start: a Redis server, a browser.
check-tests:
	@$(PYTHON) infra/check_system.py --for tests --python $(PYTHON) --triton-python $(TRITON_PYTHON)

setup: $(MAIN_READY) $(TRITON_READY) ## build both environments

$(MAIN_READY): pyproject.toml infra/constraints/main.txt | check-system
	@echo "building the main environment in $(VENV) (a few minutes the first time)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/$(PIP) --constraint infra/constraints/main.txt --editable '.[main,dev]'
	@touch $@

$(TRITON_READY): pyproject.toml infra/constraints/triton.txt | check-system
	@echo "building Triton's environment in $(TRITON_VENV) (a few minutes the first time)" >&2
	@$(TRITON_PYTHON) -m venv $(TRITON_VENV)
	@$(TRITON_VENV)/$(PIP) --constraint infra/constraints/triton.txt --editable '.[triton]'
	@touch $@

demo: setup ## render a small archive, run the night over it, ask it something
	@$(VENV)/bin/platemill demo --home $(DEMO)/home --photos $(DEMO)/photos

test: check-tests setup check ## set up what is missing and pass the tests
	@$(VENV)/bin/python -m pytest

# Whatever fails, the page is written; it says what failed, and its maker ends with 1.
chaos: export PYTHONPATH := tests/support
chaos: setup ## kill nights at every point, over half an hour (goes on if run again)
	-@$(VENV)/bin/python -m chaos.matrix --out $(CHAOS)
	-@$(VENV)/bin/python -m chaos.whole --out $(CHAOS)
	-@$(VENV)/bin/python -m chaos.soak --out $(CHAOS)
	@$(VENV)/bin/python -m chaos.report --out $(CHAOS) --docs docs
	@$(VENV)/bin/python -m pytest -m chaos

bench: setup ## throughput beside other ways, in minutes; leave the machine alone
	@$(VENV)/bin/python benchmarks/stages.py $(OWN) --out $(BENCH)
	@$(VENV)/bin/python benchmarks/night.py $(OWN) --images 240 --rounds 3 --out $(BENCH)
	@$(VENV)/bin/python benchmarks/farm.py --servers 1 2 --rounds 1 --seconds 15 --out $(BENCH)
	@$(VENV)/bin/python benchmarks/quiet.py --files 100000 --rounds 1 --out $(BENCH)
	@$(VENV)/bin/python benchmarks/timeline.py --images 600 --out $(BENCH)
	@$(VENV)/bin/python benchmarks/results.py $(BENCH) > $(BENCH)/RESULTS.md

# Hours, 15 GB of photos for the memory; it writes benchmarks/RESULTS.md and the picture beside it.
bench-full: setup ## the same with a million files and 100,000 photos, into benchmarks/RESULTS.md
	@$(VENV)/bin/python benchmarks/stages.py $(OWN) --count 48 --out $(BENCH)
	@$(VENV)/bin/python benchmarks/night.py $(OWN) --images 600 --rounds 5 --out $(BENCH)
	@$(VENV)/bin/python benchmarks/farm.py --servers 1 2 4 8 --out $(BENCH)
	@$(VENV)/bin/python benchmarks/farm.py --servers 8 --limit 400 --seconds 8 --out $(BENCH)
	@$(VENV)/bin/python benchmarks/quiet.py --out $(BENCH)
	@$(VENV)/bin/python benchmarks/timeline.py --images 100000 --memory --out $(BENCH)
	@$(VENV)/bin/python benchmarks/timeline.py --picture docs/images/night-timeline.svg --out $(BENCH)
	@$(VENV)/bin/python benchmarks/results.py $(BENCH) > benchmarks/RESULTS.md

check: setup ## linters, types and the direction of imports
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

clean: ## remove what the demo wrote
	rm -rf build
