# make demo    the main job on generated data, in a folder of its own
# make test    every test, on two workers (WORKERS=1: on one); sets up first
# make check   lint, types, import contracts, the site, tests: what CI runs
# make docs    the manual as a site, in site/; a broken link fails
# make tables  write what is made from the code into the documents
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: demo test check lint types imports docs tables setup lock bench soak clean help

help:
	@sed -n 's/^# make/  make/p' Makefile

setup: $(STAMP)

$(STAMP): requirements-dev.lock pyproject.toml
	@echo "setting up $(VENV) (a minute or two the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Lemonade needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/lemonade demo

# Compiled once beforehand: the suite starts hundreds of processes, and some environments keep them from keeping bytecode.
test: $(STAMP)
	@$(BIN)/python -m compileall -q metadata processors watcher tests
	@$(BIN)/python -m pytest -m "not soak" -n $(WORKERS) --dist loadscope --no-loadscope-reorder

soak: $(STAMP)
	@$(BIN)/python -m pytest -m soak

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports

docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

tables: $(STAMP)
	@$(BIN)/python tests/generated_tables.py
	@$(BIN)/python -c 'from metadata.settings import Settings; from metadata.setting_words import env_example; print(env_example(Settings.model_fields), end="")' > .env.example
	@$(BIN)/lemonade types schema > docs/types.schema.json

check: lint types imports docs test

bench: $(STAMP)
	@$(BIN)/python benchmarks/main_job.py
	@$(BIN)/python benchmarks/dirty_data.py
	@$(BIN)/python benchmarks/start_up.py

# The lock names versions only, no index host; `uv` is not needed to install from it.
lock:
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --output-file requirements.lock pyproject.toml
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --extra dev --output-file requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) demo build site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
