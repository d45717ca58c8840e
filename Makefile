# make demo      set up, then train a real model with phases and show the table
# make test      set up, then run every check and every test
# make test-ecosystem  timm, TRL and stable-baselines3, alone and under run, in an environment of some 6 GB
# make check     lint, format, types, import rules
# make test-versions  the core's tests on every Python here, with the oldest dependencies and the newest; a table
# make bench     set up an environment with the peers, measure them and us in one run, rewrite docs/benchmarks.md
# make pictures  make the README's pictures again, from a real run
# make clean     remove the environments and caches

PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin
BENCH := .venv-bench
ECOSYSTEM := .venv-ecosystem
PIP := pip install --quiet --disable-pip-version-check

.PHONY: demo test test-ecosystem test-versions check bench pictures browser clean

demo: $(ENV)/ready-for-demo
	$(BIN)/phasescope demo

# Two at a time, each file in one process: more would only wait for each other on a small machine.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile

test: check browser
	$(PYTEST)
	$(PYTEST) -m neutral --without=macos
	$(PYTEST) -m neutral --without=windows

test-ecosystem: $(ECOSYSTEM)/ready
	cd tests && ../$(ECOSYSTEM)/bin/python -m programs ecosystem/

test-versions:
	$(PYTHON) scripts/test_versions.py -n 2 --dist loadfile --timeout 120

check: $(ENV)/ready-for-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

bench: $(BENCH)/ready
	$(BENCH)/bin/python -m benchmarks --markdown docs/benchmarks.md

pictures: $(ENV)/ready-for-test browser
	$(BIN)/python scripts/pictures.py

# The page is tested in a real Chromium, the terminal view in a real terminal: Debian's, where they can be had.
browser:
	@if command -v chromium >/dev/null && command -v tmux >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing chromium and tmux, for the tests of the page and of the terminal view"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium tmux >/dev/null \
			|| echo "that failed: the tests that need them are skipped, and say so"; \
	else echo "no chromium or no tmux here: the tests that need them are skipped, and say so"; fi

clean:
	rm -rf $(ENV) $(BENCH) $(ECOSYSTEM) .venv-versions build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(ENV)

$(ENV)/ready-for-demo: requirements/demo.txt pyproject.toml | $(BIN)/python
	$(BIN)/$(PIP) -r requirements/demo.txt
	$(BIN)/$(PIP) -e .
	@touch $@

$(ENV)/ready-for-test: requirements/test.txt pyproject.toml | $(BIN)/python
	$(BIN)/$(PIP) -r requirements/test.txt
	$(BIN)/$(PIP) -e .
	@touch $@

# torch first: the peers ask for it without a version.
$(BENCH)/ready: requirements/demo.txt requirements/bench.txt pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/$(PIP) -r requirements/demo.txt
	$(BENCH)/bin/$(PIP) -r requirements/bench.txt
	$(BENCH)/bin/$(PIP) -e .
	@touch $@

$(ECOSYSTEM)/ready: requirements/ecosystem.txt pyproject.toml
	$(PYTHON) -m venv $(ECOSYSTEM)
	$(ECOSYSTEM)/bin/$(PIP) -r requirements/ecosystem.txt
	$(ECOSYSTEM)/bin/$(PIP) -e .
	@touch $@
