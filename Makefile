# Every target sets up what it needs; the second time it is there already.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check bench lock test-latest test-oldest clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml requirements.lock
	@echo "setting up $(VENV): about three minutes and 7 GB the first time" >&2
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
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
	$(BIN)/python .ci/check_house.py

bench: $(INSTALLED)  ## speed against rivals and a plain forward pass, captions, localisation; writes docs/benchmarks.md
	$(BIN)/python tests/benchmarks/run.py

UV := .make/uv/bin/uv
$(UV):
	$(PYTHON) -m venv .make/uv
	.make/uv/bin/pip install --quiet --disable-pip-version-check uv

COMPILE = $(UV) pip compile --quiet --extra dev pyproject.toml

lock: $(UV)  ## renew requirements.lock: the newest versions that .ci/held.txt lets through, for Python 3.11 and later
	$(COMPILE) --universal --python-version 3.11 --fork-strategy fewest --upgrade --constraint .ci/held.txt \
	  --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --output-file requirements.lock

# In environments of their own, which the lock has no part in; results go into docs/compatibility.md by hand. Old libraries are
# deprecated by what they themselves stand on (matplotlib by pyparsing): that is no failure.
test-latest: RESOLUTION := highest  ## all tests with the newest versions there are, in .venv-latest
test-oldest: TOLERANT := -W default::DeprecationWarning -W default::FutureWarning
test-oldest: RESOLUTION := lowest-direct  ## all tests with the oldest versions that pyproject.toml allows, in .venv-oldest
test-latest test-oldest: test-%: $(UV) browser
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-$*
	$(COMPILE) --python .venv-$*/bin/python --resolution $(RESOLUTION) --upgrade --output-file .venv-$*/requirements.txt
	$(UV) pip install --quiet --compile-bytecode --python .venv-$*/bin/python --requirement .venv-$*/requirements.txt
	$(UV) pip install --quiet --python .venv-$*/bin/python --no-deps --no-build-isolation --editable .
	$(UV) pip freeze --quiet --python .venv-$*/bin/python | grep -iE '^(torch|torchvision|transformers|timm|numpy|pillow|spacy)='
	.venv-$*/bin/python -m pytest -rs -m '' $(TOLERANT)

clean:  ## remove the environment and everything that was made
	rm -rf $(VENV) .venv-latest .venv-oldest .make out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
