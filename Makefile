.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test test-units test-parts test-sqs test-whole test-chaos test-aws chaos check openapi env-example manual manifests lock

# The first Python that is new enough; make PYTHON=/path/to/python3 names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
# Every path is relative, so that the checkout may lie anywhere, also under a path with spaces.
RUN := .venv/bin/python -m
# With -P no module of the working directory stands in for one of the product.
MCP_QUEUE := .venv/bin/python -P -m mcp_queue
# Modules are compiled when they are first imported: most never are, and it takes a third of the time.
PIP := $(RUN) pip --quiet --quiet --disable-pip-version-check --no-input install --no-deps --no-compile
UV_VERSION := 0.13.9
COMPILE := $(RUN) uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	pyproject.toml --group build
CHAOS_SECONDS := 600
# Where a line or a branch without a test is most likely to lose somebody's task.
COVERED := domain services consumer
MINIMUM_COVERAGE := 95
# Tests that count for it: some of the core's need a real ledger, and are therefore no unit tests.
COVERING := tests/unit tests/integration/services tests/integration/consumer

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.app ## Create .venv with the locked dependencies and the command mcp-queue

run: install ## Start gateway and consumer on the embedded queue
	@$(MCP_QUEUE) dev

test: .venv/.dev ## Run every test, and hold the coverage
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target test-whole test-sqs test-parts test-units test-chaos

# Side by side, since those that start other processes wait for them most of the time.
test-units: .venv/.dev
	$(RUN) coverage erase
	$(RUN) coverage run -m pytest $(PYTEST_ARGS) $(COVERING)
	@$(RUN) coverage combine --quiet
	@$(RUN) coverage report
	@for package in $(COVERED); do \
		$(RUN) coverage report --include="app/mcp_queue/$$package/*" --fail-under=$(MINIMUM_COVERAGE) --format=total >/dev/null || \
		{ echo "$$package is covered by less than $(MINIMUM_COVERAGE) %" >&2; exit 1; }; \
	done

test-parts: .venv/.dev
	$(RUN) pytest $(PYTEST_ARGS) $(COVERING:%=--ignore=%) --ignore=tests/integration/sqs tests/integration tests/deploy

test-sqs: .venv/.dev
	$(RUN) pytest $(PYTEST_ARGS) tests/contract tests/integration/sqs

test-whole: .venv/.dev
	$(RUN) pytest $(PYTEST_ARGS) tests/acceptance

test-chaos: .venv/.dev
	$(RUN) pytest $(PYTEST_ARGS) tests/chaos

chaos: .venv/.dev ## Let processes fail at random for ten minutes with each ledger; make chaos CHAOS_SECONDS=60 for one
	CHAOS_SECONDS=$(CHAOS_SECONDS) $(RUN) pytest --log-cli-level=INFO tests/chaos

test-aws: .venv/.dev ## Try SQS on the AWS account of the environment; it says what it creates, and asks for TEST_AWS=yes
	$(RUN) tests.aws $(AWS_ARGS)

check: .venv/.dev ## Check style, types, layers, spelling, the Dockerfile, the workflows and openapi.yaml
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy app tests $(wildcard bench)
	.venv/bin/lint-imports
	$(RUN) codespell_lib
	.venv/bin/hadolint Dockerfile
	.venv/bin/actionlint .github/workflows/*.yml
	@$(MCP_QUEUE) openapi | diff -u openapi.yaml - || { echo "openapi.yaml is not the app's own; run make openapi" >&2; exit 1; }

openapi: install ## Write openapi.yaml
	$(MCP_QUEUE) openapi > openapi.yaml.new
	mv openapi.yaml.new openapi.yaml

env-example: install ## Write .env.example
	$(MCP_QUEUE) config example > .env.example.new
	mv .env.example.new .env.example

manual: install ## Write docs/configuration.md
	$(MCP_QUEUE) config manual > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

manifests: .venv/.dev ## Write deploy/kubernetes from the Helm chart
	.venv/bin/python deploy/kubernetes/render.py

lock: install ## Lock the dependencies anew; make lock UPGRADE=--upgrade takes newer versions
	$(PIP) uv==$(UV_VERSION)
	$(COMPILE) $(UPGRADE) --output-file requirements/app.lock
	$(COMPILE) $(UPGRADE) --group dev --constraints requirements/app.lock --output-file requirements/dev.lock

.venv/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed and was not found; make install PYTHON=/path/to/python3 names one" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot create .venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

.venv/.app: requirements/app.lock pyproject.toml | .venv/bin/python
	@echo "Installing the locked dependencies into .venv"
	@$(PIP) --require-hashes --requirement requirements/app.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.lock .venv/.app
	@echo "Installing what the tests and checks need into .venv"
	@$(PIP) --require-hashes --requirement requirements/dev.lock
	@touch $@
