# Everything runs from .venv, which is made here: with plain python3 and pip, or faster with uv where it is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_WORKERS ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) + 2 )))

# Tests start hundreds of processes: none of them shall compile everything once more, whatever is usual here.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo up test test-long check lint format bench chaos docs lock settings vendor clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Make .venv with everything that is needed to run, test and develop

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "memsched needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making $(VENV), with what is downloaded into it: some minutes, the first time only."
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) \
		&& uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock \
		&& uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps -e . ; \
	else \
		$(PYTHON) -m venv $(VENV) \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e . ; \
	fi
	@touch $(STAMP)

demo: $(STAMP)  ## A talk that three workers remember, one of them killed in the middle: nothing lost, nothing doubled
	$(BIN)/memsched demo

up: $(STAMP)  ## Servers, workers, API and dashboard until Ctrl-C; UP=--sample plays the talk of the demo into it
	$(BIN)/memsched up $(UP)

# Many tests wait for others' processes: two more at once than there are cores. Those that are marked alone
# measure time, or want a core for themselves: they run afterwards, two at a time, for they wait more than they work.
test: $(STAMP)  ## All tests, on servers that they start themselves
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist worksteal -m "not alone and not long"
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "alone and not long"

test-long: $(STAMP)  ## The tests that take minutes: crashes before every step, a storm of kills, thousands of follow-ups
	$(BIN)/python -m pytest -q -m long

check: lint test  ## What CI runs

lint: $(STAMP)  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## Put the code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Measure the transport and the memory against what is under them (some minutes)
	$(BIN)/python -m benchmarks transport
	$(BIN)/python -m benchmarks memory

chaos: $(STAMP)  ## Only the tests that kill things
	$(BIN)/python -m pytest -q tests/chaos

$(VENV)/.docs-installed: $(STAMP) requirements-docs.lock
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-docs.lock; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock; \
	fi
	@touch $@

docs: $(VENV)/.docs-installed  ## The documentation with the API reference as a site in site/; fails on a dead link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lock: $(STAMP)  ## Renew the lock files from pyproject.toml
	$(BIN)/uv pip compile --universal --upgrade --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--quiet --extra fast --extra service --extra mcp --extra otel pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --upgrade --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--quiet --extra dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --universal --upgrade --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--quiet -c requirements-dev.lock --group docs -o requirements-docs.lock

settings: $(STAMP)  ## Write the settings into .env.example, docker-compose.yml and docs/operations.md
	$(BIN)/python scripts/write_settings.py

vendor: $(STAMP)  ## Fetch the dashboard's htmx, uPlot and Pico CSS anew, and check them
	$(BIN)/python scripts/vendor.py

clean:  ## Remove what was made here
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis
