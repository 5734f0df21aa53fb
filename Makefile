# make demo    real mail through a private Postfix, shown
# make test    all tests, the real Postfix included
# make check   what CI runs: lint, types, tests
# make man     writes what the manual pages in docs/ have from --help and conf/, and docs/standards.md
# make bench   figures against opendkim, opendmarc and rspamd

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNTIME_PACKAGES := libmilter-dev gcc libc6-dev python3-venv python3-dev
TEST_PACKAGES    := postfix unbound bind9-utils debootstrap redis-server opendkim postgresql \
                    systemd-journal-remote prometheus man-db mandoc groff-base

.PHONY: test demo check lint types man bench clean

test: $(VENV)/.ready
	$(BIN)/pytest

demo: $(VENV)/.ready
	@$(BIN)/python -m demo

check: lint types test

lint: $(VENV)/.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.ready
	$(BIN)/mypy

man: $(VENV)/.ready
	@$(BIN)/python -m tools.manuals
	@$(BIN)/python -m tools.standards

bench: $(VENV)/.ready
	$(BIN)/python -m bench

# The packages are asked for again only when this file or pyproject.toml changes.
$(VENV)/.ready: pyproject.toml Makefile tools/system-packages tools/python-packages
	@tools/system-packages $(RUNTIME_PACKAGES) $(TEST_PACKAGES)
	@tools/python-packages $(PYTHON) $(VENV)
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
