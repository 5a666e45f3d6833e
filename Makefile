# Everything from a fresh clone: each target sets up what it needs, once. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MODEL  := qwen2.5-coder-0.5b
OUT    ?= runs/default
PRESET ?= auto

.DEFAULT_GOAL := help
.PHONY: help study test check bench docs clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

study: $(VENV)/.installed  ## find r̂ of the default model and measure everything (PRESET=quick|standard|full|auto, OUT=folder)
	$(BIN)/rhat study --model $(MODEL) --preset $(PRESET) --out $(OUT)

# The tiny models are tested in parallel, one thread each; then the default model in one process with all cores.
test: $(VENV)/.installed-test  ## run every test, those on the default model included
	$(BIN)/rhat download $(MODEL)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not model" -n auto --maxprocesses 4 --dist worksteal
	$(BIN)/pytest -m model

check: $(VENV)/.installed-dev  ## lint, formatting, types, and which part may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-test  ## measure speed against the plain procedure
	$(BIN)/python benchmarks/run.py

docs: $(VENV)/.installed-docs  ## build the pages of docs/ as a site into site/, its links checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove caches and build products; results (runs/), .venv and downloaded models stay
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis .benchmarks
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of packages, made again when what is asked for changes.
$(VENV)/.installed: EXTRAS =
$(VENV)/.installed-test: EXTRAS = [test]
$(VENV)/.installed-dev: EXTRAS = [dev]
$(VENV)/.installed-docs: EXTRAS = [docs]
$(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-dev $(VENV)/.installed-docs: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing rhat$(EXTRAS) into $(VENV): a few minutes the first time"
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.$(EXTRAS)'
	@touch $@
