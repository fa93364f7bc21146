# make demo: see it work.   make test: the whole check.   Both work on a fresh clone.
# make test-interop: files exchanged with other libraries, and their quantisers examined (installs them).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Workers share the cores, so each process of the tests computes on one thread.
TESTENV := OMP_NUM_THREADS=1 MPLBACKEND=Agg

# Tests of real data are skipped where NARROWS_DATA names none; where it does, a skip is a failure.
SKIPS := $(if $(NARROWS_DATA),--no-skips)

.PHONY: demo test test-interop lint types arrows tests data proofs docs bench fuzz clean

demo: $(VENV)/.users
	$(BIN)/narrows demo

# The quick proofs are among the tests.
test: lint types arrows tests docs

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
	$(TESTENV) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(SKIPS)

# Our files in the libraries themselves, and theirs in ours; the doctor on their quantisers. Environments are made below PEERS, or named by variables:
# NARROWS_PEER_SAELENS=python make test-interop. LIBRARIES=saelens,sparsify: only these.
PEERS ?= $(HOME)/.cache/narrows-peers
test-interop: $(VENV)/.developers
	$(TESTENV) NARROWS_PEERS=$(PEERS) PYTHONPATH=src:tests $(BIN)/python -m interop \
	  $(if $(LIBRARIES),--libraries $(LIBRARIES))

# Only the tests that need the real data.
data: $(VENV)/.developers
	$(TESTENV) $(BIN)/python -m pytest -n $(WORKERS) -m data --no-skips

# The quick proofs alone, each with its numbers.
proofs: $(VENV)/.developers
	$(BIN)/narrows prove --all --scale quick --strict

docs: $(VENV)/.developers
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

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
