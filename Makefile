# make demo: see it work.   make test: the whole check.   Both work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Workers share the cores, so each process of the tests computes on one thread.
TESTENV := OMP_NUM_THREADS=1 MPLBACKEND=Agg

.PHONY: demo test lint types arrows tests proofs docs bench fuzz clean

demo: $(VENV)/.users
	$(BIN)/narrows demo

test: lint types arrows tests proofs docs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.users: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e ".[all]"
	@touch $@

$(VENV)/.developers: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.users

lint: $(VENV)/.developers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developers
	$(BIN)/mypy

arrows: $(VENV)/.developers
	$(BIN)/lint-imports

tests: $(VENV)/.developers
	$(TESTENV) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# All quick proofs, a few at a time in each of the workers; fails if one of them does.
proofs: $(VENV)/.developers
	$(BIN)/python -c "from narrows.methods.index import METHODS; print(*METHODS)" | \
	  $(TESTENV) xargs -P $(WORKERS) -n 3 $(BIN)/narrows prove --scale quick --strict

docs: $(VENV)/.developers
	$(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.developers
	$(BIN)/python -m benchmarks

# Damaged files of every format, read again: `make fuzz N=10000`, one case once more: `make fuzz CASE=npy:17`.
N ?= 1000
SEED ?= 0
fuzz: $(VENV)/.developers
	$(TESTENV) PYTHONPATH=src:tests $(BIN)/python -m fuzz --cases $(N) --seed $(SEED) $(if $(CASE),--case $(CASE)) \
	  $(if $(FORMATS),--formats $(FORMATS))

clean:
	rm -rf $(VENV) build dist site demo .mypy_cache .ruff_cache .pytest_cache
