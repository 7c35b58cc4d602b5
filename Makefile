# make demo   the whole way on sample data: train, predict, look at the result in napari
# make test   the whole test suite
# make lint   formatting, types, architecture, manifest
# Each makes its own environment first, in $(VENV).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: venv demo test lint clean

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,test]"
	touch $@

demo: $(READY)
	scripts/with_display.sh $(BIN)/napari-seg3d demo --output demo-output

test: $(READY)
	scripts/with_display.sh $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari_seg3d/napari.yaml

clean:
	rm -rf $(VENV) demo-output site
