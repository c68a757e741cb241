# Everything runs in .venv/, which the first target that needs it makes (some 25 s) from constraints.txt.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := all,testing,dev
# Tests that kill and restart for longer have the mark chaos; `make test TEST_ARGS="-m chaos"` runs them.
TEST_ARGS ?= -m "not chaos"
# How many processes share the tests (tests/sharing_out.py), each with services of its own; 0: this one alone. They
# wait most of the time, for leases and outages: there are more of them than cores.
TEST_JOBS ?= 4
# once leaves out the further variants of rules that are proven once (the mark variant), which is the default; all.
VARIANTS ?=
# How many of compose, RabbitMQ and Redis `make smoke` has up side by side; mostly they wait for each other's start.
SMOKE_JOBS ?= 3
DATA ?=

# Images and CI machines set it, and then each of the many processes that a run starts compiles the whole package again.
unexport PYTHONDONTWRITEBYTECODE

# Each candidate is asked for its version: a shim on PATH may stand for an interpreter that is not there.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help demo test smoke lint bench chaos chaos-long mutants clean constraints venv

help:
	@echo "make demo [DATA=file.csv]  the whole stack on this machine, with real or made-up data"
	@echo "make test [TEST_ARGS=...]  every suite whose services are here; names those that are not"
	@echo "make smoke                 the stack in containers, which are killed and started again; needs Docker"
	@echo "make lint                  ruff, mypy --strict, pyright on tests/typing, import contracts"
	@echo "make bench                 throughput beside plain Celery tasks"
	@echo "make chaos | chaos-long    kills, restarts and faults under load, then the books are checked"
	@echo "make mutants               takes each guard of docs/invariants.md out, and sees its test fall"
	@echo "make venv | constraints    the environment alone | new pins in constraints.txt"
	@echo "make clean                 removes what the targets above made"

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install python3.11, or name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "setting up $(VENV)/ with $$($(PYTHON) -V) (once; again when pyproject.toml or constraints.txt change)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $@

demo: $(READY)
	@$(BIN)/kato-tasks demo $(if $(DATA),--data '$(DATA)')

test: $(READY)
	@$(BIN)/python -m tests.services run pytest -n $(TEST_JOBS) $(if $(VARIANTS),--variants $(VARIANTS)) $(TEST_ARGS)

smoke: $(VENV)/.smoke
	@$(BIN)/python -m pytest -p pytest_celery.plugin -p pytest_docker_tools.plugin -n $(SMOKE_JOBS) --dist loadscope \
		-m docker $(SMOKE_ARGS) tests/acceptance tests/smoke

$(VENV)/.smoke: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[smoke]' -c constraints.txt
	@touch $@

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	@PYTHONPATH=. $(BIN)/lint-imports

bench: $(READY)
	@$(BIN)/python -m benchmarks.run

# CHAOS_ARGS="--seed 7" chooses load, script and faults; chaos-long runs on both brokers, one after the other.
chaos: $(READY)
	@$(BIN)/python -m tests.chaos --short $(CHAOS_ARGS)

chaos-long: $(READY)
	@$(BIN)/python -m tests.chaos --long --broker both $(CHAOS_ARGS)

# MUTANTS_ARGS="--seconds 180" runs the part that fits, chosen by the date; --only TEXT some rows.
mutants: $(READY)
	@$(BIN)/python -m tests.services check && $(BIN)/python -m tests.mutants $(MUTANTS_ARGS)

# The pins are what a fresh environment resolves to today; nothing but name==version lines is kept.
# OLDEST: what the dependencies ask for only before Python 3.11.3 (Debian 12 has 3.11.2), pinned wherever this runs.
constraints: OLDEST := async-timeout
constraints:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/pip" install --quiet --disable-pip-version-check -e '.[$(EXTRAS),smoke]' $(OLDEST); \
	"$$tmp/venv/bin/pip" freeze --disable-pip-version-check --exclude-editable >"$$tmp/frozen"; \
	if grep -vE '^[A-Za-z0-9._-]+==[^ @]+$$' "$$tmp/frozen"; then echo "these are no name==version lines: left constraints.txt alone" >&2; exit 1; fi; \
	cp "$$tmp/frozen" constraints.txt; echo "constraints.txt: $$(wc -l <constraints.txt) pins"

clean:
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +
