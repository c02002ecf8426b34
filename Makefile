# The only commands anyone has to know. GNU make and /bin/sh; everything else is in .venv.

PORT     ?=
WORKERS  ?= 1
GATEWAYS ?= 1
DATA_DIR ?=
ARGS     ?=
PYTEST_ARGS ?= -n 3 --dist loadfile
FAULT_ARGS  ?=
EXAMPLES    ?= 40
BENCH_ARGS  ?=
# AUDIT=strict: fail where no advisory service can be asked. AUDIT_ARGS="--ignore ID": it was judged.
AUDIT       ?=
AUDIT_ARGS  ?=

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.parley-setup
CONSTRAINTS := $(wildcard constraints.txt)
# OpenAI's Node client is tested where npm is found.
NODE_TESTS := tests/e2e/node
NODE_CLIENT := $(if $(shell command -v npm 2>/dev/null),$(NODE_TESTS)/node_modules/.installed)
WEB_DIST := $(if $(wildcard services/web/dist/index.html),services/web/dist)

.DEFAULT_GOAL := help
.PHONY: help setup run test full attack faults soak bench check audit fmt clean

help: ## Show these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  e.g. make run PORT=8100 WORKERS=2 ARGS=--demo"

setup: $(STAMP) ## Install everything into .venv, start nothing

run: $(STAMP) ## Start all of Parley (PORT, WORKERS, GATEWAYS, DATA_DIR, ARGS); Ctrl-C stops it
	@exec $(BIN)/parley up $(if $(PORT),--port '$(PORT)') --workers '$(WORKERS)' --gateways '$(GATEWAYS)' \
		$(if $(DATA_DIR),--data-dir '$(DATA_DIR)') $(if $(WEB_DIST),--web-dist $(WEB_DIST)) $(ARGS)

test: $(STAMP) $(NODE_CLIENT) ## Run the tests that need no Docker and little time (PYTEST_ARGS)
	$(BIN)/pytest $(PYTEST_ARGS)

full: $(STAMP) $(NODE_CLIENT) ## Run these and the slow ones: whole stacks, and waits for deadlines
	$(BIN)/pytest -m "not faults and not soak" $(PYTEST_ARGS)

attack: $(STAMP) ## Fuzz all that reads foreign bytes, with new requests each time (EXAMPLES each, 40)
	ATTACK_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/attack --timeout 1800 $(PYTEST_ARGS)

faults: $(STAMP) ## Break every part of a running Parley, about 15 minutes; prints a table
	$(BIN)/pytest tests/faults -m "not soak" -p no:xdist $(FAULT_ARGS)

soak: $(STAMP) ## 10 minutes of load with random kills (SOAK_SECONDS, SOAK_SEED)
	$(BIN)/pytest tests/faults -m soak -p no:xdist $(FAULT_ARGS)

bench: $(STAMP) ## Time history beside 10,000 messages; fails where a p95 is above 50 ms (BENCH_ARGS)
	$(BIN)/python bench/history_reads.py --messages 10000 --sessions 1000 --bound 50 $(BENCH_ARGS)

check: $(STAMP) ## Format, lint, types, imports, advisories: everything that needs no running code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory audit

audit: $(STAMP) ## Ask what is known against the pinned packages (AUDIT=strict, AUDIT_ARGS)
	$(BIN)/python -m deploy.advisories --installed 'parley[dev]' $(if $(filter strict,$(AUDIT)),--strict) $(AUDIT_ARGS)

fmt: $(STAMP) ## Format, and repair what the linter can repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove caches and builds; .venv and the data stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache build dist
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(NODE_TESTS)/node_modules/.installed: $(NODE_TESTS)/package.json
	@npm install --prefix $(NODE_TESTS) --no-package-lock --no-audit --no-fund --loglevel error \
		&& touch $@ || echo "OpenAI's Node client could not be installed; its test will be skipped"

# A name on the PATH proves nothing (version managers leave empty ones): each is asked.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@set -e; \
	if ! $(BIN)/python -c '' 2>/dev/null; then \
		for name in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
			if "$$name" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then \
				found="$$name"; break; \
			fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "Parley needs Python 3.11, 3.12 or 3.13 with its venv module; none was found (make PYTHON=/path/to/python names one)." >&2; \
			exit 1; \
		fi; \
		echo "Creating $(VENV) with $$found"; \
		"$$found" -m venv $(VENV); \
	fi; \
	echo "Installing into $(VENV); this takes a minute"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev]'; \
	touch $@
