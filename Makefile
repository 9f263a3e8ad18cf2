# Everything a developer types. Needs Python 3.10 or later (with venv), Node 18 or later (with npm) and make.

PYTHON ?= python3
# .python-version is for platforms that deploy. Here any Python from 3.10 on does: pyenv takes its own default.
export PYENV_VERSION ?= $(shell command -v pyenv >/dev/null && pyenv global | paste -s -d : -)
VENV := .venv
BIN := $(VENV)/bin
# Files that tell when a step was last done; it is done again when what it depends on has changed.
# `make run` needs the packages that run the server; tests, lint and documents need the others too.
RUN_READY := $(VENV)/.ready-run
PYTHON_READY := $(VENV)/.ready
NODE_RUN_READY := node_modules/.ready-run
NODE_READY := node_modules/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
NPM := npm ci --ignore-scripts --no-progress --loglevel=error
PARSER_READY := tests/apidocs/asyncapi/node_modules/.ready
PAGE_LIBRARIES := $(addprefix animochat/web/static/vendor/,socket.io.esm.min.js uPlot.esm.js uPlot.min.css)

# Where `make wheel` puts the archives.
DIST := dist

.PHONY: setup run-setup test-setup test-packages run test test-lowest coverage lint format documents site wheel sbom audit constraints bench simulate screenshots model clean

setup: $(PYTHON_READY) $(NODE_READY) $(PAGE_LIBRARIES)

$(RUN_READY): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "make: $(PYTHON) is missing or older than 3.10; name another one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "make: $(PYTHON) can't make virtual environments; install it (Debian, Ubuntu: python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) .
	@touch $@

$(PYTHON_READY): $(RUN_READY)
	$(PIP) '.[dev]'
	@touch $@

$(NODE_RUN_READY): package-lock.json package.json
	@command -v npm >/dev/null \
		|| { echo "make: npm is missing; install Node 18 or later with npm" >&2; exit 1; }
	$(NPM) --omit=dev
	@touch $@

$(NODE_READY): $(NODE_RUN_READY)
	$(NPM)
	@touch $(NODE_RUN_READY) $@

$(PAGE_LIBRARIES): $(NODE_RUN_READY)
	npm run --silent build
	@touch $(PAGE_LIBRARIES)

# AsyncAPI's parser is 170 packages, which only the tests need.
$(PARSER_READY): tests/apidocs/asyncapi/package-lock.json $(NODE_READY)
	$(NPM) --prefix tests/apidocs/asyncapi
	@touch $@

# Where they can't be installed the tests run without them, and say in the end what that cost.
test-packages: setup
	@tools/test_packages || true

test-setup: setup test-packages $(PARSER_READY)

# What running needs, for a machine that a service manager runs the server on.
run-setup: $(RUN_READY) $(PAGE_LIBRARIES)

run: run-setup
	$(BIN)/animochat serve

test: test-setup
	$(BIN)/pytest -n 3 --dist worksteal --durations=15

# The same with what is covered, the servers under test included: it takes half as long again.
coverage: test-setup
	$(BIN)/pytest -n 3 --dist worksteal --cov --cov-report=term

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/luacheck.py
	npx --no-install biome lint --error-on-warnings .
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documents as a site, in site/; a broken link is an error.
site: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# A wheel and an sdist with the page's libraries in them: installing either needs no Node. The same files make the same
# archives, byte for byte (tools/build_backend.py).
wheel: $(RUN_READY) $(PAGE_LIBRARIES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'setuptools>=77'
	rm -f $(DIST)/animochat-*.whl $(DIST)/animochat-*.tar.gz
	$(BIN)/python tools/build_backend.py $(DIST)

# The wheel, and what it brings along (CycloneDX): Python's packages and the page's libraries.
sbom: $(PYTHON_READY) wheel
	$(BIN)/python tools/sbom.py $(DIST)

# Known vulnerabilities of the versions in constraints.txt and package-lock.json; needs the indexes.
audit: $(PYTHON_READY)
	$(BIN)/python tools/audit.py

# The versions that installing and CI use: the newest ones that setup.cfg allows.
constraints: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --all-extras --no-header --no-annotate --upgrade \
		--output-file constraints.txt setup.cfg

# The tests of the contract and of the server on the lowest versions that setup.cfg allows.
test-lowest: test-setup
	$(BIN)/python tools/lowest.py

# What is made from the server's own types and stands in the repository.
documents: setup
	$(BIN)/python -m animochat.apidocs .

# Every state of the protocol's model, and every mutation of it (docs/decisions/0013); a minute.
model: setup test-packages
	$(BIN)/python tests/model/check.py

# The load generator and the Node reference server have dependencies of their own.
bench: setup
	npm ci --prefix bench --no-progress --loglevel=error
	$(BIN)/python bench/run.py

# The table of docs/scaling.md; some minutes.
simulate: setup
	$(BIN)/python bench/simulate.py

# The README's picture and the one of shared links, from the running page; needs Chromium.
screenshots: setup
	$(BIN)/python tools/screenshots.py

clean:
	rm -rf $(VENV) .venv-lowest site node_modules bench/node_modules tests/apidocs/asyncapi/node_modules animochat/web/static/vendor
	rm -rf build dist tests/fuzz/corpus *.egg-info .coverage .coverage.* htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
