# Everything runs from .venv, made by Python's own venv and pip from the hash-pinned files.
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin

.DEFAULT_GOAL := help
INFRA_TARGETS := setup-infra synth types-infra lock-deploy images image-sizes tf-backend-init tf-backend-apply tf-init-backend tf-plan-local tf-apply-local
.PHONY: $(INFRA_TARGETS)
.PHONY: help setup demo test check lint types imports bench synth lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

setup: .venv/.installed .venv-ministack/.installed ## Make .venv and .venv-ministack from the hash-pinned requirement files

.venv/.installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The embedded AWS pins an old botocore, so it has an environment of its own.
.venv-ministack/.installed: requirements/ministack.txt
	$(PYTHON) -m venv .venv-ministack
	.venv-ministack/bin/python -m pip install --quiet --require-hashes -r requirements/ministack.txt
	@touch $@

check: setup lint types imports ## Lint, formatting, types, direction of imports

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports --no-cache

test: check ## Run every check and test
	$(BIN)/pytest

lock: ## Renew the hash-pinned requirement files (needs uv)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements/dev.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/ministack.in -o requirements/ministack.txt

# --- Deployment -------------------------------------------------------------------------------------------------
# The CDK is 600 MB, so that what runs and tests the service does without it.
setup-infra: setup .venv/.installed-infra ## Add the CDK and the linters of the deployment to .venv

.venv/.installed-infra: requirements/infra.txt .venv/.installed
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/infra.txt
	@touch $@

synth: setup-infra ## Write both stages and their pipelines to cdk.out/ (needs no AWS access)
	rm -rf cdk.out
	$(BIN)/python -m infrastructure.app

types-infra: setup-infra
	$(BIN)/mypy infrastructure

images: ## Build base, function and worker images with docker, podman or buildah
	$(PYTHON) -m infrastructure.images.build $(IMAGES)

image-sizes: ## Show the sizes of the built images beside their budgets
	$(PYTHON) -m infrastructure.images.build --sizes

LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements/dev.txt pyproject.toml
lock-deploy: ## Renew the deployment's requirement files (needs uv)
	$(UV) $(LOCK) --extra infra -o requirements/infra.txt
	$(UV) $(LOCK) --extra lambda --extra portable -o requirements/lambda.txt
	$(UV) $(LOCK) --extra worker -o requirements/worker.txt

TERRAFORM ?= terraform
TF := infrastructure/terraform
TFVARS := -var-file=terraform.local.tfvars
tf-backend-init: ## Terraform: prepare the stack that holds the state's bucket and lock table
	$(TERRAFORM) -chdir=$(TF)/backend init

tf-backend-apply: ## Terraform: create the state's bucket and lock table
	$(TERRAFORM) -chdir=$(TF)/backend apply -var-file=../terraform.local.tfvars

tf-init-backend: ## Terraform: connect the worker's stack to the state
	$(TERRAFORM) -chdir=$(TF) init -backend-config=backend.local.hcl

tf-plan-local: ## Terraform: show what would change
	$(TERRAFORM) -chdir=$(TF) plan $(TFVARS)

tf-apply-local: ## Terraform: change it
	$(TERRAFORM) -chdir=$(TF) apply $(TFVARS)

clean: ## Remove what the targets made
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis cdk.out .demo build dist
