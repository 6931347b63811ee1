# make demo, make test: the two commands. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LIGHT := .venv-light
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: help demo light test check lint format page smoke examples clean

help:
	@echo "make demo      identify the pictures of examples/ (first time: installs, about 5 minutes)"
	@echo "make light     install what answers takes into $(LIGHT): no PyTorch, 0.7 GB"
	@echo "make test      run the tests"
	@echo "make check     format, lint, types, import direction and tests: what CI runs"
	@echo "make page      serve the page on this machine"
	@echo "make smoke     train on drawn airframes, about 80 seconds"
	@echo "make format    let ruff format and mend what it can"
	@echo "make examples  draw examples/ again"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Airframe needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Installing into $(VENV): usually 3 to 6 minutes, once; 6 GB, nearly all of it PyTorch."
	@$(PYTHON) -m venv $(VENV)
	@echo "  1/2 a recent pip"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	@echo "  2/2 the libraries (silent while it downloads)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group run --group dev -c constraints.txt
	@touch $(READY)

$(LIGHT)/.ready: pyproject.toml constraints.txt
	@echo "Installing into $(LIGHT): about a minute, once; 0.7 GB."
	@$(PYTHON) -m venv $(LIGHT)
	@$(LIGHT)/bin/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	@$(LIGHT)/bin/python -m pip install --quiet --disable-pip-version-check --group light -c constraints.txt
	@touch $@

light: $(LIGHT)/.ready
	@echo "$(LIGHT)/bin/python infer.py examples      $(LIGHT)/bin/python -m app"

demo: $(READY)
	@echo "Identifying the drawn pictures and the clip of examples/ with the shipped checkpoint: about 15 seconds."
	@rm -f out/demo.jsonl out/demo.manifest.json
	@$(BIN)/python infer.py examples --output out/demo.jsonl

test: $(READY)
	@echo "Running the tests: about 15 minutes on two cores."
	@$(BIN)/python -m pytest

check: $(READY) lint
	@$(BIN)/python -m pytest

lint: $(READY)
	@echo "format, lint, types, import direction"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

page: $(READY)
	@$(BIN)/python -m app

smoke: $(READY)
	@$(BIN)/python train.py --config configs/smoke.yaml --set run=$$(mktemp -d)/smoke

examples: $(READY)
	@$(BIN)/python -m data.synthetic --examples examples

clean:
	rm -rf out runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
