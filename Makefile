# Two commands do all set-up: `make quickstart` and `make test`. Both make .venv first and install again when
# pyproject.toml changes. Without make, the README gives the same as plain pip lines.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# libgomp's spinning threads starve each other on shared cores.
export GOMP_SPINCOUNT := 0
export OMP_WAIT_POLICY := PASSIVE

.PHONY: quickstart test pytest lint acceptance benchmarks coverage docs base peer clean help

help:
	@echo "make quickstart   install and run: real sources -> release -> training -> scored board (runs/quickstart)"
	@echo "make test         install and run every check at a small size"
	@echo "make acceptance   the full figures of benchmarks/RESULTS.md; any length, resumable (ONLY=FILE: that one)"
	@echo "make benchmarks   every measurement of speed and memory again (ONLY=verse: that one; LIST=1: their names)"
	@echo "make coverage     the tests again with tracing: which share of the code they run"
	@echo "make docs         the documentation site, built strictly into site/"
	@echo "make base         make the shipped base model again (samples/nano_base)"
	@echo "make peer NAME=x  an environment for a peer that benchmarks compare with"
	@echo "make lint         ruff and mypy alone"
	@echo "make clean        remove .venv and caches; runs/ is kept"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[test]"
	@touch $@ $(VENV)/.installed

quickstart: $(VENV)/.installed
	$(BIN)/spinemed quickstart

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Files of tests are dealt out to processes; one thread each, so that they do not starve each other. Lint runs beside
# them: it is done long before, and what it finds fails the whole.
WORKERS ?= 2
test: $(VENV)/.installed-test
	@$(MAKE) --no-print-directory -j2 lint pytest

pytest: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

acceptance: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m acceptance $(ONLY)

# Each in a child process; what this commit has already is left alone (AGAIN=1 measures it again).
benchmarks: $(VENV)/.installed-test
	$(BIN)/python benchmarks/run_all.py $(if $(LIST),--list) $(if $(AGAIN),--again) $(if $(ONLY),--only $(ONLY))

# How much of each package the tests run, against the promised bounds.
coverage: $(VENV)/.installed-test
	$(BIN)/python benchmarks/measure_coverage.py

docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "made: site/index.html"

base: $(VENV)/.installed
	$(BIN)/spinemed train warmup configs/nano_base.yaml --out runs/nano_base
	@echo "made: runs/nano_base/outputs/model; compare with samples/nano_base"

# A peer lives in an environment of its own: benchmarks/peers/NAME.txt pins it.
PEER := benchmarks/peers/.env-$(NAME)
peer:
	@test -f "benchmarks/peers/$(NAME).txt" || { echo "no benchmarks/peers/$(NAME).txt; known: $$(cd benchmarks/peers && ls *.txt)"; exit 2; }
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --disable-pip-version-check --quiet -r benchmarks/peers/$(NAME).txt
	@if [ -f "benchmarks/peers/$(NAME)-declare-ops.py" ]; then \
	  $(PEER)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec; \
	  site=$$($(PEER)/bin/python -c "import site; print(site.getsitepackages()[0])"); \
	  cp "benchmarks/peers/$(NAME)-declare-ops.py" "$$site/declare_ops.py"; \
	  echo "import declare_ops" > "$$site/declare_ops.pth"; fi

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
