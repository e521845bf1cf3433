# Two commands set everything up: `make demo` and `make test`. Both make their own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .peers
LONG := real or night or pulls or faults or slow
export MPLBACKEND := Agg

.PHONY: demo test test-long test-vast test-peers bench lint docs format clean

demo: $(VENV)/.installed
	$(BIN)/nightpipe simulate alfosc --out demo/raw --seed 1
	$(BIN)/nightpipe reduce demo/raw "$$($(BIN)/nightpipe data get dbsp-quicklook)" --out demo/out; \
	    status=$$?; if [ $$status -ne 0 ] && [ $$status -ne 10 ]; then exit $$status; fi

test: $(VENV)/.developing
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not peer and not real and not night and not pulls and not faults and not slow and not vast"

test-long: $(VENV)/.developing
	$(BIN)/nightpipe data get telluric
	$(BIN)/python -m pytest -n auto --dist loadfile -m "($(LONG)) and not peer and not vast"

test-vast: $(VENV)/.developing
	$(BIN)/python -m pytest -m vast

test-peers: $(PEERS)/.installed
	$(PEERS)/bin/python -m pytest -m peer

bench: $(PEERS)/.installed
	$(PEERS)/bin/python bench/run.py
	$(PEERS)/bin/python bench/nights.py

lint: $(VENV)/.developing
	$(BIN)/ruff check src tests bench tools
	$(BIN)/ruff format --check src tests bench tools
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.developing
	$(BIN)/ruff format src tests bench tools
	$(BIN)/ruff check --fix src tests bench tools

docs: $(VENV)/.developing
	$(BIN)/python -m pytest tests/docs
	$(BIN)/nightpipe docs --out docs/reference

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(PEERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,peer]'
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) demo
