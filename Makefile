# One verb each; every one makes .venv first. PYTHON names the interpreter (3.11 or newer), VENV the environment's folder.
#   make demo    two nodes in two processes exchange a file        make check   linters, types, layers, generated code
#   make test    the whole test suite (ARGS="-k name -x" narrows)  make bench   the figures of docs/performance.md
#   make docs    the documentation as a site in build/site, warnings are errors
#   make clean   forget the environment and everything generated   make peers   the real peers that test/interop talks to

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

# The first interpreter that is new enough; an explicit PYTHON is taken as it is and checked below.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)

INSTALLED := $(VENV)/.installed
PEERS_PYTHON = $(abspath $(BIN)/python)

.PHONY: demo test check bench docs peers install clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	@$(BIN)/python scripts/demo.py $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_protobuf.py --check

bench: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m bench.run $(ARGS)

docs: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

peers: $(INSTALLED)
	PYTHON=$(PEERS_PYTHON) scripts/install-peers

install: $(INSTALLED)

# Anew only when what is to be installed has changed; the package itself is installed in place.
$(INSTALLED): pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed (with its venv module): make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks test/bin
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
