# Everything runs in .venv, made on first use from constraints.txt; `make help` lists the targets.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c '' 2>/dev/null && echo python3.12 || echo python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
RESULTS ?= results

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all ui lint bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"zsr needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]} (make PYTHON=/path/to/python3.11 ...)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (torch and the sweep tools; some minutes and 7 GB the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## make .venv and install the pinned versions

demo: $(VENV)/.installed  ## the first sweep, whole: alpha x beta of TGA-ZSR on the built-in miniature
	@$(BIN)/python sweeps/tga_alpha_beta.py

ui: $(VENV)/.installed  ## serve the tracking UI on loopback
	@RESULTS=$(RESULTS) PATH="$(abspath $(BIN)):$$PATH" sh mlflow/serve.sh

lint: $(VENV)/.dev  ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: lint  ## lint and the fast suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-all: lint  ## everything: also the slow, ray and ui suites
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow or ray or ui' -n 0

bench: $(VENV)/.installed  ## a TGA-ZSR step beside the plain one: medians and ratios
	@$(BIN)/python benchmarks/training_step.py

clean:  ## remove caches; results and .venv stay
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
