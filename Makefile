# Everything runs from .venv, made by Python's own venv and pip from the hash-pinned files.
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
BENCHMARKS ?= lambda_path engine scorecard_code templates models stores runtime plexus_api plexus_engine

.DEFAULT_GOAL := help
INFRA_TARGETS := audit cdk cost test-in-container setup-infra synth types-infra lock-deploy images image-sizes tf-backend-init tf-backend-apply tf-init-backend tf-plan-local tf-apply-local
.PHONY: $(INFRA_TARGETS)
.PHONY: chaos help setup demo test test-other-python check lint types imports bench synth lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

setup: .venv/.installed .venv-ministack/.installed ## Make .venv and .venv-ministack from the hash-pinned requirement files

.venv/.installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The embedded AWS pins an old botocore, so it has an environment of its own.
.venv-ministack/.installed: requirements/ministack.txt
	$(PYTHON) -m venv .venv-ministack
	.venv-ministack/bin/python -m pip install --quiet --no-compile --require-hashes -r requirements/ministack.txt
	@touch $@

check: setup lint types imports ## Lint, formatting, types, direction of imports

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports --no-cache

demo: setup ## Run the main job on the embedded AWS and write a report
	@$(BIN)/plexus-scoring demo $(DEMO)

# Three at a time on two processors: much of a test's time is waiting for a server; the tests of one file share theirs.
PYTEST ?= -n 3 --dist loadfile

test: check ## Run every check and test
	@$(MAKE) --no-print-directory -j2 setup-infra $(if $(OTHER),.venv-other/.installed)
	$(BIN)/python -m pytest $(PYTEST)
	@$(MAKE) --no-print-directory test-other-python

# The locks resolve for 3.11 and 3.12: what needs no service runs on both where both are found.
OTHER := $(shell for python in python3.11 python3.12 $$HOME/.pyenv/versions/3.1[12].*/bin/python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null || continue; \
	test "$$("$$python" -c 'import sys; print(sys.version_info[:2])')" = "$$($(PYTHON) -c 'import sys; print(sys.version_info[:2])')" && continue; \
	echo "$$python"; break; done)

ifeq ($(OTHER),)
test-other-python:
	@echo "Only one of Python 3.11 and 3.12 is here: the other one's tests are not run."
else
test-other-python: .venv-other/.installed ## Run the tests without services on the other Python as well
	.venv-other/bin/python -m pytest -q $(PYTEST) tests/unit tests/conformance
endif

# Not part of `make test`: Plexus is on no package index, and what its scores import takes 6.5 GB.
test-plexus: setup ## Run the recorded cases on Plexus itself and on the portable engine (PLEXUS_SRC=checkout of Plexus)
	@test -n "$(PLEXUS_SRC)" || { echo "PLEXUS_SRC=DIR: a checkout of https://github.com/AnthusAI/Plexus (1.50.1)"; exit 2; }
	$(BIN)/python -m tests.support.plexus_environment "$(PLEXUS_SRC)" .venv-plexus --uv "$(UV)" \
		$(if $(PLEXUS_COST_CALCULATOR),--cost-calculator "$(PLEXUS_COST_CALCULATOR)")
	@rm -f build/plexus-agreement.txt
	PLEXUS_PYTHON="$(CURDIR)/.venv-plexus/bin/python" $(BIN)/python -m pytest -q tests/integration/plexus $(PYTEST); \
		status=$$?; cat build/plexus-agreement.txt; exit $$status
	$(BIN)/python -m benchmarks.plexus_engine

.venv-other/.installed: requirements/dev.txt pyproject.toml
	$(OTHER) -m venv .venv-other
	.venv-other/bin/python -m pip install --quiet --no-compile --require-hashes -r requirements/dev.txt
	.venv-other/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

bench: setup ## Print every performance figure as a ratio against a floor or a peer
	@for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python -m "benchmarks.$$file" || exit 1; done

CHAOS_JOBS ?= 10000
chaos: setup ## Run 10,000 jobs under each fault on each real broker, and print the table (CHAOS_JOBS=1000: fewer)
	CHAOS_JOBS=$(CHAOS_JOBS) CI=true $(BIN)/pytest tests/integration/chaos -q

lock: ## Renew the hash-pinned requirement files (needs uv)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements/dev.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/ministack.in -o requirements/ministack.txt
	$(MAKE) lock-deploy

# --- Deployment -------------------------------------------------------------------------------------------------
# The CDK is 600 MB, so that what runs and tests the service does without it.
setup-infra: setup .venv/.installed-infra ## Add the CDK and the linters of the deployment to .venv

.venv/.installed-infra: requirements/infra.txt .venv/.installed
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements/infra.txt
	@touch $@

# What the pipelines run, on a copy. Privileged, because the image tests run containers, whose layers need a file
# system of the host's. A pipeline's source has no history, and some tests ask git.
DEBIAN ?= public.ecr.aws/docker/library/debian:bookworm
test-in-container: ## Run demo and tests in a bare Debian, as the pipelines do (needs docker)
	docker run --rm --privileged --env CI=true --env DEBIAN_FRONTEND=noninteractive \
		--volume "$(CURDIR):/source:ro" --volume /var/lib/containers --workdir /checkout $(DEBIAN) sh -ec ' \
		apt-get update -qq; apt-get install -y -qq --no-install-recommends ca-certificates git; \
		tar -C /source --exclude="./.venv*" --exclude=./cdk.out -cf - . | tar -xf -; \
		git config --global --add safe.directory /checkout; \
		test -d .git || { git init -q; git add --all; }; \
		.ci/run'

synth: setup-infra ## Write both stages and their pipelines to cdk.out/ (needs no AWS access)
	rm -rf cdk.out
	$(BIN)/python -m infrastructure.app

# On the Node that is locked with the CDK: the machine's own may be too old, or absent.
CDK_CLI := 2.1148.1
cdk: setup-infra ## Run the CDK's own command, for example: make cdk ARGS="diff staging/*"
	PATH="$(CURDIR)/$(BIN):$$PATH" npx --yes aws-cdk@$(CDK_CLI) $(ARGS)

cost: ## Print what a stage costs in a month (ARGS="--jobs 250000")
	@$(PYTHON) -m infrastructure.cost $(ARGS)

types-infra: setup-infra
	$(BIN)/mypy infrastructure

images: ## Build base, function and worker images with docker, podman or buildah
	$(PYTHON) -m infrastructure.images.build $(IMAGES)

image-sizes: ## Show the sizes of the built images beside their budgets
	$(PYTHON) -m infrastructure.images.build --sizes $(IMAGES)

# --strict: a package that could not be looked up is no package without advisories.
audit: setup-infra ## Look up known vulnerabilities of every locked package (needs PyPI's advisory database)
	@for lock in lambda lambda-binary worker infra; do \
		echo "$$lock.txt"; $(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r "requirements/$$lock.txt" \
		|| { echo "$$lock.txt: a known vulnerability, or the advisory database cannot be reached (see above)"; exit 1; }; \
	done

FUNCTION_EXTRAS := --extra lambda --extra plexus-api --extra portable --extra rubric
LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock-deploy: ## Renew the requirement files of the CDK and the images (needs uv)
	$(UV) $(LOCK) -c requirements/dev.txt pyproject.toml --extra infra -o requirements/infra.txt
	$(UV) $(LOCK) -c requirements/dev.txt pyproject.toml $(FUNCTION_EXTRAS) -o requirements/lambda.txt
	$(UV) $(LOCK) -c requirements/dev.txt requirements/lambda-binary.in -o requirements/lambda-binary.txt
	$(UV) $(LOCK) requirements/lambda-source.in -o requirements/lambda-source.txt
	$(UV) $(LOCK) -c requirements/dev.txt pyproject.toml --extra worker -o requirements/worker.txt
	$(UV) $(LOCK) --allow-unsafe requirements/image-tools.in -o requirements/image-tools.txt

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
