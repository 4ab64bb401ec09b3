# Every target sets up what it needs; the second time it is there already.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(INSTALLED): pyproject.toml
	@echo "setting up $(VENV): about three minutes and 7 GB the first time" >&2
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(INSTALLED)  ## explain a sample photo offline: prints the caption and the page's path
	@HF_HUB_OFFLINE=1 $(BIN)/python -m demos.demo --out out/demo

test: $(INSTALLED) browser  ## the quick suite, then the slower one
	$(BIN)/pytest -q
	$(BIN)/pytest -q -m 'slow or gpu'

.PHONY: browser
browser:  # the page's tests want a browser; without root or apt-get they skip and say so
	@test -x /usr/bin/chromium || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1; } || \
	  echo "no chromium: the page's browser tests will be skipped" >&2

check: $(INSTALLED)  ## ruff, mypy --strict, who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## speed against rivals and a plain forward pass, captions, localisation; writes docs/benchmarks.md
	$(BIN)/python tests/benchmarks/run.py

clean:  ## remove the environment and everything that was made
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
