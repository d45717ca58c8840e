# make demo      set up, then train a real model with phases and show the table
# make test      set up, then run every check and every test
# make check-native  the compiled core under AddressSanitizer, UBSan, valgrind and a fuzzer (ten million inputs)
# make test-ecosystem  timm, TRL, stable-baselines3 and Ray Train, alone and under run, in an environment of some 6 GB
# make test-trackers  phasescope export --to, with the real TensorBoard, MLflow and Weights & Biases, in an environment of 300 MB
# make test-engines  docs/fleets.md's SQL on ClickHouse's embedded engine, and a dataset in a bucket, in an environment of 800 MB
# make check     lint, format, types, import rules
# make test-versions  the core's tests on every Python here, with the oldest dependencies and the newest, and the loops of
#                the oldest frameworks; a table. Six minutes of two cores a row; ARGUMENTS="--every 20" takes a sample
# make bench     set up an environment with the peers, measure them and us in one run, rewrite docs/benchmarks.md
# make wheel     build the wheel for this machine into dist/
# make docs      build the documentation site into site/
# make pictures  make the README's pictures again, from a real run
# make clean     remove the environments and caches

PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin
BENCH := .venv-bench
ECOSYSTEM := .venv-ecosystem
TRACKERS := .venv-trackers
ENGINES := .venv-engines
PIP := pip install --quiet --disable-pip-version-check
CORE := $(wildcard src/phasescope/_native/*.[ch])

# Where it is set, each of the many processes of the tests compiles our sources once more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check-native wheel test-ecosystem test-trackers test-engines test-versions check bench docs pictures browser clean

demo: $(ENV)/ready-for-demo
	$(BIN)/phasescope demo

# Two at a time, each file in one process, the longest first: more would only wait for each other on a small machine.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# What chooses between the compiled core and its Python twin; these files of the two rooms hold modules with neither.
TWIN := tests/capture tests/wire $(patsubst %,--ignore=tests/%.py,capture/test_oom_message wire/test_envelope wire/test_event wire/test_event_schema)

test:
	@$(MAKE) --no-print-directory -j 2 check browser
	$(PYTEST)
	PHASESCOPE_PURE_PYTHON=1 $(PYTEST) $(TWIN)
	$(PYTEST) -m neutral --without=macos
	$(PYTEST) -m neutral --without=windows
	$(BIN)/python scripts/check_native.py --short

# The compiled core under sanitizers, valgrind and a fuzzer.
check-native: $(ENV)/ready-for-test
	$(BIN)/python scripts/check_native.py

test-ecosystem: $(ECOSYSTEM)/ready
	cd tests && ../$(ECOSYSTEM)/bin/python -m programs ecosystem/

test-trackers: $(TRACKERS)/ready
	$(TRACKERS)/bin/pytest tests/exporters/test_trackers.py

test-engines: $(ENGINES)/ready
	$(ENGINES)/bin/pytest tests/fleet/test_engines.py

test-versions:
	$(PYTHON) scripts/test_versions.py -n 2 --dist loadfile --timeout 120 $(ARGUMENTS)

check: $(ENV)/ready-for-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

# For this machine; auditwheel says which systems it runs on.
wheel: $(ENV)/ready-for-test
	rm -rf dist
	$(BIN)/$(PIP) auditwheel
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python -m auditwheel show dist/*.whl

bench: $(BENCH)/ready
	$(BENCH)/bin/python -m benchmarks --markdown docs/benchmarks.md

docs: $(ENV)/ready-for-test
	$(BIN)/mkdocs build --strict

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
	rm -rf $(ENV) $(BENCH) $(ECOSYSTEM) $(TRACKERS) $(ENGINES) .venv-versions build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(ENV)

$(ENV)/ready-for-demo: requirements/demo.txt pyproject.toml setup.py $(CORE) | $(BIN)/python
	$(BIN)/$(PIP) -r requirements/demo.txt
	$(BIN)/$(PIP) -e .
	@touch $@

# pip would compile one file after the other, the packages' own tests, and what no test imports. A few are for other
# Pythons, and fail.
NOT_COMPILED := /tests?/|/transformers/models/(?!auto/|bert/|gpt2/)\w+/|/plotly/graph_objs/|/torch/testing/_internal/
$(ENV)/ready-for-test: requirements/test.txt pyproject.toml setup.py $(CORE) | $(BIN)/python
	$(BIN)/$(PIP) --no-compile -r requirements/test.txt
	@$(BIN)/python -m compileall -q -j 0 -x '$(NOT_COMPILED)' $(ENV)/lib >/dev/null || true
	$(BIN)/$(PIP) -e .
	@touch $@

# torch first: the peers ask for it without a version.
$(BENCH)/ready: requirements/demo.txt requirements/bench.txt pyproject.toml setup.py $(CORE)
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/$(PIP) -r requirements/demo.txt
	$(BENCH)/bin/$(PIP) -r requirements/bench.txt
	$(BENCH)/bin/$(PIP) -e .
	@touch $@

$(TRACKERS)/ready: requirements/trackers.txt requirements/test.txt pyproject.toml setup.py $(CORE)
	$(PYTHON) -m venv $(TRACKERS)
	$(TRACKERS)/bin/$(PIP) -r requirements/trackers.txt
	$(TRACKERS)/bin/$(PIP) -e .
	@touch $@

$(ENGINES)/ready: requirements/engines.txt requirements/test.txt pyproject.toml setup.py $(CORE)
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/$(PIP) -r requirements/engines.txt
	$(ENGINES)/bin/$(PIP) -e .
	@touch $@

$(ECOSYSTEM)/ready: requirements/ecosystem.txt pyproject.toml
	$(PYTHON) -m venv $(ECOSYSTEM)
	$(ECOSYSTEM)/bin/$(PIP) -r requirements/ecosystem.txt
	$(ECOSYSTEM)/bin/$(PIP) -e .
	@touch $@
