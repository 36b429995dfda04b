# The commands of this project. `make digits` trains, `make check` proves; both set up what they need in .venv.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt
SOURCES := $(shell find functrain adapters -name '*.py' -o -name py.typed)
CODE := functrain adapters tests $(wildcard examples benchmarks docs)

.PHONY: help setup digits check lint format types test docs wheel bench clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*##/\t/' | expand -t 12

# ---- environments: each stamp is newer than what it was made from, so a second call installs nothing

$(VENV)/.base: constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("functrain needs Python 3.11 or newer, and this is " + sys.version.split()[0] + ": call make with PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) pip setuptools
	@touch $@

$(VENV)/.run: $(VENV)/.base pyproject.toml
	$(INSTALL) --no-build-isolation --editable '.[torch,jax,examples]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(INSTALL) --no-build-isolation --editable '.[torch,jax,examples,loggers,docs,test,lint,bench]'
	@touch $@

setup: $(VENV)/.dev  ## make .venv with everything that the other commands need

# ---- the main job

digits: $(VENV)/.run  ## train the handwritten-digit classifiers, in torch and in JAX
	$(BIN)/python examples/digits.py

# ---- the checks; the tests come last, so that their closing line closes the output

check: lint types docs wheel test  ## everything that must pass

lint: $(VENV)/.dev  ## ruff: rules and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: $(VENV)/.dev  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

types: $(VENV)/.dev  ## pyright: strict in the kernel, basic elsewhere
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python

docs: $(VENV)/.dev  ## build docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -E -b html docs docs/_build/html

# The proof is kept until the sources change. What it proves: see tests/wheel_smoke.py.
wheel: $(VENV)/.wheel  ## build the wheel, install it into an empty environment and use it
$(VENV)/.wheel: $(VENV)/.dev $(SOURCES) LICENSE README.md tests/wheel_check.sh tests/wheel_smoke.py
	PYTHON=$(abspath $(BIN)/python) bash tests/wheel_check.sh
	@touch $@

test: $(VENV)/.dev  ## the test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

bench: $(VENV)/.dev  ## measure against the peers, and write the figures into docs/
	$(BIN)/python -m benchmarks

clean:  ## remove what the commands above made
	rm -rf $(VENV) build dist functrain.egg-info docs/_build docs/_generated
