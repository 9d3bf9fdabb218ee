# `make` lists what can be made. Everything runs in .venv, which is made when needed.
.DEFAULT_GOAL := help
.PHONY: help demo test unit check format bench docs clean dist lock
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := multi deploy tests benchmarks examples docs
# processes of a test run: one more than there are processors, since tests wait a third of their time; but they start many of
# their own, so a few suffice
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -ge 4 ] && echo 4 || echo $$((n + 1)))
# more arguments for pytest: make test ARGS='-k redis -x'
ARGS ?=

help:
	@echo "multi: start, watch, deploy and stop background workers"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A venv that was moved with its folder, or whose Python is gone, is not ready.
ifneq ($(wildcard $(READY)),)
ifeq ($(shell $(BIN)/ruff --version 2>/dev/null),)
$(shell rm -f $(READY))
endif
endif

$(READY): pyproject.toml requirements.lock .ci/setup
	@VENV=$(VENV) PYTHON=$(PYTHON) .ci/setup

demo: $(READY) ## run an example project: start nodes, send tasks, look, restart, stop
	@$(BIN)/python examples/quickstart/demo.py

test: $(READY) ## run all tests
	@$(BIN)/pytest -n $(JOBS) $(ARGS)

unit: $(READY)
	@$(BIN)/pytest tests/unit $(ARGS)

check: $(READY) ## format, lint, types, floors of the house, unit tests
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/pytest -q tests/unit

format: $(READY) ## format the code, and mend what can be mended mechanically
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

bench: $(READY) ## measure multi and its peers on a private Redis (takes minutes)
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY) ## render the documentation to build/docs; a dead link or file name fails
	@$(BIN)/python docs/build.py build/docs

clean: ## delete what make made, .venv too
	@rm -rf .venv .venv-bench .venv-celery build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .coverage.*
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

dist: $(READY) ## build sdist and wheel in dist/ and check what they hold
	@rm -rf dist
	@mkdir -p build
	@$(BIN)/python -m build --no-isolation --outdir dist . >build/dist.log 2>&1 || { cat build/dist.log; exit 1; }
	@$(BIN)/python tests/support/distribution.py dist

# not in the list: for whoever changes the dependencies
lock: $(READY)
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --generate-hashes --python-version 3.11 --no-annotate \
		--no-header --no-emit-index-url --extra all --group dev -o requirements.lock
