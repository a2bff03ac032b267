# What can be done here. `make` alone lists it.
# ARGS goes to the command behind a target:  make demo ARGS="--duration 60s --no-web"
#                                            make test ARGS="tests/stream -k gate" JOBS=0
# JOBS tests run at once, each process with a broker of its own; stories of the whole system one after another in the first.

PYTHON ?= python3
ARGS ?=
JOBS ?= 2
PIP_INSTALL = -m pip install --disable-pip-version-check -q

RUN := .venv
TEST := .venv-test

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help:  ## list the targets
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

demo: $(RUN)/installed  ## watch synthetic streams with known faults (installs heed into .venv first)
	@$(RUN)/bin/heed demo $(ARGS)

test: $(TEST)/installed  ## run every test (installs into .venv-test first, torch included: several GB)
	@$(TEST)/bin/python -m pytest -n $(JOBS) --no-loadscope-reorder $(ARGS)

check: $(TEST)/installed  ## lint, formatting and types
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

bench: $(RUN)/installed  ## measure speed and memory on this machine
	@$(RUN)/bin/heed bench speed $(ARGS)

clean:  ## remove both environments, builds and caches
	rm -rf $(RUN) $(TEST) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is made once, and brought up to date when pyproject.toml changes.
$(RUN)/installed: EXTRAS :=
$(TEST)/installed: EXTRAS := [test]
%/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "heed needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "installing heed$(EXTRAS) into $*" >&2
	@test -x $*/bin/pip || $(PYTHON) -m venv $*
	@$*/bin/python $(PIP_INSTALL) -e '.$(EXTRAS)'
	@touch $@
