# SomaGent. No mocks, no bypasses, no invented values: every target works on real servers and real data.
.DEFAULT_GOAL := help
.PHONY: help setup image demo up down test test-unit test-long check docs bench

BIN := .venv/bin
# Where it is set, each of the many processes that tests start compiles all our modules again.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Create the environment and see to Docker
	@deploy/setup

image: setup ## Build the sandbox image that container tools run in
	@$(BIN)/python -m sandbox.image

demo: image ## Start everything and run the shipped capsules
	@$(BIN)/somagent up
	@$(BIN)/python deploy/demo.py

up: setup ## Start the local stack
	@$(BIN)/somagent up

down: ## Stop the local stack: no process and no container stays
	@if [ -x $(BIN)/somagent ]; then $(BIN)/somagent down; else echo "Nothing is installed, so nothing runs."; fi

test: image ## Run the whole suite (PYTEST_ARGS for a part of it)
	@$(BIN)/pytest -n 2 --dist loadfile --durations=20 $(PYTEST_ARGS)

test-unit: ## Run the tests that need no server and no Docker
	@deploy/setup python
	@$(BIN)/pytest tests/unit -n 2 --dist worksteal -m "not server and not docker" --durations=10 $(PYTEST_ARGS)

test-long: image ## Run soak, load and chaos tests, and property tests at random
	@$(BIN)/pytest --long -m "long or property" --hypothesis-profile=random --durations=20 $(PYTEST_ARGS)

check: ## Format, lint, types and import contracts
	@deploy/setup python
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	cd deploy/examples/orders && $(CURDIR)/$(BIN)/mypy --strict --config-file= --cache-dir $(CURDIR)/.mypy_cache/orders *.py
	$(BIN)/lint-imports

docs: ## Write the generated parts of the documents again
	@deploy/setup python
	@$(BIN)/python deploy/docs.py

bench: image ## Measure against the anchors, side by side
	@$(BIN)/python deploy/bench/run.py
