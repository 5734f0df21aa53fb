# make demo    real mail through a private Postfix, shown
# make test    all tests, the real Postfix included
# make check   what CI runs: lint, types, tests
# make man     writes what the manual pages in docs/ have from --help and conf/, and docs/standards.md
# make bench   figures against opendkim, opendmarc and rspamd
# make deb     the Debian package, in dist/ (make try-package: install, upgrade, remove it in Debian 12 and 13, as root)
# make install [PREFIX=/usr/local] [DESTDIR=]    the same without a package; make uninstall

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNTIME_PACKAGES := libmilter-dev gcc libc6-dev python3-venv python3-dev
DEMO_PACKAGES    := postfix unbound bind9-utils
TEST_PACKAGES    := debootstrap redis-server opendkim postgresql \
                    systemd-journal-remote prometheus man-db mandoc groff-base
# for `make deb` and its tests
PACKAGING        := build-essential debhelper lintian systemd systemd-container

PREFIX  ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system

.PHONY: test demo check lint types man bench deb try-package install uninstall clean

test: $(VENV)/.complete
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

bench: $(VENV)/.complete
	$(BIN)/python -m bench

deb:
	tools/deb

try-package: $(VENV)/.complete
	$(BIN)/python -m tests.package

install:
	@tools/install "$(PYTHON)" "$(PREFIX)" "$(UNITDIR)" "$(DESTDIR)"

uninstall:
	@tools/uninstall "$(PREFIX)" "$(UNITDIR)" "$(DESTDIR)"

# The packages are asked for again only when this file or pyproject.toml changes.
$(VENV)/.ready: pyproject.toml Makefile tools/system-packages tools/python-packages
	@tools/system-packages $(RUNTIME_PACKAGES) $(DEMO_PACKAGES)
	@tools/python-packages $(PYTHON) $(VENV)
	@touch $@

# The demo does without these.
$(VENV)/.complete: $(VENV)/.ready
	@tools/system-packages $(TEST_PACKAGES) $(PACKAGING)
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
