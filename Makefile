# Everything runs from .venv, made by Python's own venv from the hash-pinned files.
PYTHON ?= python3

# Which Pythons do: what pyproject.toml says, in the words that make can compare.
SUPPORTED := 3.11 3.12 3.13 3.14
version = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
this-version = $(if $(2),$(if $(filter $(1),$(call version,$(2))),$(2)))
find-python = $(or $(call this-version,$(1),$(lastword $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python))),\
	$(call this-version,$(1),python$(1)))
FOUND := $(call version,$(PYTHON))
# pyenv has a command for each version that it holds, but runs the selected ones only.
ifeq ($(FOUND),)
override PYTHON := $(or $(call find-python,$(PYTHON:python%=%)),$(PYTHON))
FOUND := $(call version,$(PYTHON))
endif
UNSUITED = $(if $(FOUND),Python $(FOUND) found at $(shell $(PYTHON) -c 'import sys; print(sys.executable)'),$(PYTHON): no such command)
# An environment of another Python, or of one that is gone, holds binaries that do not load: it is made from the start.
other-python = $(if $(wildcard $(1)/pyvenv.cfg),$(if $(filter $(FOUND),$(call version,$(1)/bin/python)),,--clear))
BIN := .venv/bin
UV ?= $(BIN)/uv
# uv takes a tenth of pip's time. Where it cannot install (an index that only pip's settings name), pip does.
# $(call install,ENVIRONMENT,LOCK,OPTIONS OF UV)
install = $(BIN)/uv pip install --quiet --python $(1)/bin/python --require-hashes $(3) -r $(2) \
	|| $(BIN)/python -m pip --python $(1)/bin/python install --quiet --require-hashes -r $(2)
BENCHMARKS ?= lambda_path engine scorecard_code templates models stores runtime plexus_api plexus_engine

.DEFAULT_GOAL := help
INFRA_TARGETS := audit cdk cost test-in-container setup-infra synth types-infra lock-deploy lock-plexus images image-sizes tf-backend-init tf-backend-apply tf-init-backend tf-plan-local tf-apply-local
.PHONY: $(INFRA_TARGETS)
.PHONY: chaos help setup setup-tactus python-version another-python demo test test-other-python test-plexus check lint types imports rie bench synth lock lock-wheels clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

setup: .venv/.installed .venv-ministack/.installed ## Make .venv and .venv-ministack from the hash-pinned requirement files

python-version:
	@$(if $(filter $(FOUND),$(SUPPORTED)),,echo "$(UNSUITED); 3.11 to 3.14 is needed: \
	make $(or $(firstword $(MAKECMDGOALS)),setup) PYTHON=python3.12"; exit 2)

.venv/.installed: requirements/dev.txt pyproject.toml $(if $(call other-python,.venv),another-python) | python-version
	$(PYTHON) -m venv $(call other-python,.venv) .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(call install,.venv,requirements/dev.txt,--compile-bytecode)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The embedded AWS pins an old botocore, so it has an environment of its own.
.venv-ministack/.installed: requirements/ministack.txt $(if $(call other-python,.venv-ministack),another-python) | .venv/.installed
	$(PYTHON) -m venv --without-pip $(call other-python,.venv-ministack) .venv-ministack
	$(call install,.venv-ministack,requirements/ministack.txt)
	@touch $@

# The AWS CLI pins its botocore to the day, too. It runs in the tests only.
.venv-awscli/.installed: requirements/awscli.txt $(if $(call other-python,.venv-awscli),another-python) | setup
	$(PYTHON) -m venv --without-pip $(call other-python,.venv-awscli) .venv-awscli
	$(call install,.venv-awscli,requirements/awscli.txt)
	@touch $@

# tactus brings dspy and litellm, which must not meet our own packages. It is compiled, because its host may not write.
setup-tactus: .venv-tactus/.installed ## Make .venv-tactus, where TactusScores run (95 packages, 420 MB)

.venv-tactus/.installed: requirements/tactus.txt $(if $(call other-python,.venv-tactus),another-python) | setup
	$(PYTHON) -m venv --without-pip $(call other-python,.venv-tactus) .venv-tactus
	$(call install,.venv-tactus,requirements/tactus.txt,--compile-bytecode)
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

# Four at a time on two processors: much of a test's time is waiting for a server; the tests of one file share theirs.
PYTEST ?= -n 4 --dist loadfile --no-loadscope-reorder

# The tests start hundreds of processes: none of them shall compile what another one has compiled, whatever the shell says.
test test-other-python: export PYTHONDONTWRITEBYTECODE :=

test: setup-infra ## Run every check and test
	@$(MAKE) --no-print-directory -j3 check setup-tactus rie .venv-awscli/.installed $(OTHERS:%=.venv-%/.installed)
	$(BIN)/python -m pytest $(PYTEST)
	@$(MAKE) --no-print-directory test-other-python

# The oldest Python, and the newest that most machines have: what needs no service runs on both where both are found.
TESTED := 3.11 3.13
OTHERS := $(foreach other,$(filter-out $(FOUND),$(TESTED)),$(if $(call find-python,$(other)),$(other)))
ABSENT := $(filter-out $(FOUND) $(OTHERS),$(TESTED))

test-other-python: $(OTHERS:%=.venv-%/.installed) ## Run the tests without services on Python 3.11 and 3.13 as well
	@$(if $(ABSENT),echo "Python $(ABSENT) is not here: its unit and conformance tests are not run.",:)
	@for other in $(OTHERS); do echo "== Python $$other"; \
		.venv-$$other/bin/python -m pytest -q $(PYTEST) tests/unit tests/conformance || exit 1; done

# Not part of `make test`: Plexus is on no package index.
test-plexus: setup ## Run the recorded cases on Plexus itself and on the portable engine (PLEXUS_SRC=checkout of Plexus)
	@test -n "$(PLEXUS_SRC)" || { echo "PLEXUS_SRC=DIR: a checkout of https://github.com/AnthusAI/Plexus (1.50.1)"; exit 2; }
	$(BIN)/python -m tests.support.plexus_environment "$(PLEXUS_SRC)" .venv-plexus \
		$(if $(PLEXUS_COST_CALCULATOR),--cost-calculator "$(PLEXUS_COST_CALCULATOR)")
	@rm -f build/plexus-agreement.txt
	PLEXUS_SRC="$(abspath $(PLEXUS_SRC))" PLEXUS_PYTHON="$(CURDIR)/.venv-plexus/bin/python" $(BIN)/python -m pytest -q tests/integration/plexus $(PYTEST); \
		status=$$?; cat build/plexus-agreement.txt; exit $$status
	PLEXUS_PYTHON="$(CURDIR)/.venv-plexus/bin/python" $(BIN)/python -m benchmarks.plexus_engine

$(OTHERS:%=.venv-%/.installed): .venv-%/.installed: requirements/dev.txt pyproject.toml | setup
	$(call find-python,$*) -m venv --without-pip .venv-$*
	$(call install,.venv-$*,requirements/dev.txt)
	$(BIN)/python -m pip --python .venv-$*/bin/python install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

rie: build/rie/aws-lambda-rie ## Fetch AWS's emulator of the Lambda runtime (one file of 9 MB, pinned by hash)

build/rie/aws-lambda-rie: requirements/rie.txt docker/fetch_rie.py | setup
	$(BIN)/python docker/fetch_rie.py $@

bench: setup ## Print every performance figure as a ratio against a floor or a peer
	@for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python -m "benchmarks.$$file" || exit 1; done

CHAOS_JOBS ?= 10000
chaos: setup ## Run 10,000 jobs under each fault on each real broker, and print the table (CHAOS_JOBS=1000: fewer)
	CHAOS_JOBS=$(CHAOS_JOBS) CI=true $(BIN)/pytest tests/integration/chaos -q

lock: ## Renew the hash-pinned requirement files
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements/dev.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/ministack.in -o requirements/ministack.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/awscli.in -o requirements/awscli.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/tactus.in -o requirements/tactus.txt
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/uv.in -o requirements/uv.txt
	$(MAKE) lock-deploy
	$(MAKE) lock-wheels

# Without this a newer Python finds out in its user's `make setup`, minutes into a compilation that ends in an error.
lock-wheels: ## Check that every locked package has a wheel for every Python
	@mkdir -p build
	@for python in $(SUPPORTED); do for lock in dev infra worker ministack awscli tactus; do \
		$(UV) pip compile --quiet --no-deps --no-annotate --only-binary :all: --python-version $$python \
			--python-platform x86_64-manylinux_2_28 requirements/$$lock.txt -o build/$$lock-$$python.txt >/dev/null \
			|| { echo "requirements/$$lock.txt does not fit Python $$python (see above)"; exit 1; }; done; done

# --- Deployment -------------------------------------------------------------------------------------------------
# The CDK is 600 MB, so that what runs and tests the service does without it.
setup-infra: setup .venv/.installed-infra ## Add the CDK and the linters of the deployment to .venv

.venv/.installed-infra: requirements/infra.txt .venv/.installed
	$(call install,.venv,requirements/infra.txt)
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

images: ## Build base, function and worker images with docker, podman or buildah (PLEXUS_SRC=DIR: a base with that Plexus)
	$(PYTHON) -m infrastructure.images.build $(IMAGES) $(if $(PLEXUS_SRC),--plexus-src "$(PLEXUS_SRC)") \
		$(if $(PLEXUS_COST_CALCULATOR),--cost-calculator "$(PLEXUS_COST_CALCULATOR)")

image-sizes: ## Show the sizes of the built images beside their budgets
	$(PYTHON) -m infrastructure.images.build --sizes $(IMAGES)

# --strict: a package that could not be looked up is no package without advisories.
audit: setup-infra ## Look up known vulnerabilities of every locked package (needs PyPI's advisory database)
	@for lock in lambda lambda-binary worker infra tactus plexus; do \
		echo "$$lock.txt"; $(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r "requirements/$$lock.txt" \
		|| { echo "$$lock.txt: a known vulnerability, or the advisory database cannot be reached (see above)"; exit 1; }; \
	done

FUNCTION_EXTRAS := --extra lambda --extra plexus-api --extra portable --extra rubric
LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock-deploy: ## Renew the requirement files of the CDK and the images
	$(UV) $(LOCK) -c requirements/dev.txt pyproject.toml --extra infra -o requirements/infra.txt
	$(UV) $(LOCK) -c requirements/dev.txt pyproject.toml $(FUNCTION_EXTRAS) -o requirements/lambda.txt
	$(UV) $(LOCK) -c requirements/dev.txt requirements/lambda-binary.in -o requirements/lambda-binary.txt
	$(UV) $(LOCK) requirements/lambda-source.in -o requirements/lambda-source.txt
	$(UV) $(LOCK) -c requirements/dev.txt pyproject.toml --extra worker -o requirements/worker.txt
	$(UV) $(LOCK) --allow-unsafe requirements/image-tools.in -o requirements/image-tools.txt
	$(UV) $(LOCK) --no-deps requirements/nltk-data.in -o requirements/nltk-data.txt

lock-plexus: ## Renew the requirement file of the environment that holds Plexus
	cd requirements/plexus && $(UV) $(LOCK) pyproject.toml -o ../plexus.txt

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
