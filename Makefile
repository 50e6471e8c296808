# Every target sets up what it needs by itself, in .venv, and only when pyproject.toml or a lock has changed.
# `make help` lists the targets; CI calls the same ones (.ci/run).

VENV    ?= .venv
WORKERS ?= 2
BIN     := $(VENV)/bin
PACKAGES := benchmarks engine glue_wrappers orchestration scripts
CODE     := $(strip $(foreach d,$(PACKAGES),$(if $(shell find $d -name '*.py' 2>/dev/null | head -1),$d)))
PYTEST   := $(BIN)/pytest -n $(WORKERS) --dist loadgroup

# The construct library runs on any Node.js that works; which ones its authors support is not news at every run.
JSII     := JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION=1 JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION=1 \
            JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=18,19,20,21,23

export VENV
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo quick test test-slow test-aws lint format types house package glue synth diagram check audit bench lock \
        resolve clean coverage mutation fuzz test-pythons api

help: ## List the targets
	@awk -F ':.*## ' '/^# -- / { gsub(/[ -]+$$|^# -- /, ""); printf "\n%s\n", $$0 } \
		/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# -- set-up -------------------------------------------------------------------------------------

install: $(VENV)/.dev $(VENV)/.warm ## Set up .venv with all that tests and checks need

$(VENV)/.demo: pyproject.toml requirements.lock scripts/setup.sh
	@echo "setting up $(VENV) (only when pyproject.toml or a lock has changed)"
	@sh scripts/setup.sh requirements.lock
	@touch $@

$(VENV)/.dev: pyproject.toml requirements-dev.lock scripts/setup.sh
	@echo "setting up $(VENV) for development (only when pyproject.toml or a lock has changed)"
	@sh scripts/setup.sh requirements-dev.lock
	@touch $@ $(VENV)/.demo

# The template scan is compiled once for each machine; here, so that the first run does not wait for it.
$(VENV)/.warm: $(wildcard engine/briquette/template_scan/*.py engine/briquette/template_scan/*/*.py) | $(VENV)/.demo
	@$(BIN)/python scripts/warm.py
	@touch $@

PIPS    ?= 23.0.1,latest
EXTRAS  ?= ,fast,spark,ray,infra,dev

resolve: $(VENV)/.demo ## Prove that pip alone resolves the base and every extra in time, from nothing (PIPS, EXTRAS)
	@$(BIN)/python scripts/resolve.py --pips "$(PIPS)" --extras "$(EXTRAS)"

lock: $(VENV)/.demo ## Resolve the dependencies anew and write both lock files
	@VENV=$(VENV) sh scripts/lock.sh

# -- use ----------------------------------------------------------------------------------------

demo: $(VENV)/.demo $(VENV)/.warm ## Make a raw day, compact and verify it, show the result; no account needed
	@$(BIN)/briquette demo

bench: $(VENV)/.dev $(VENV)/.warm ## Run the benchmark suite
	@$(BIN)/briquette bench

diagram: ## Draw docs/flow.svg from docs/flow.dot (needs Node.js)
	@NODE_EXTRA_CA_CERTS=$${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt} npm install --silent --no-audit --no-fund --prefix build/diagram @viz-js/viz@3.31.0
	@node scripts/diagram.mjs docs/flow.dot docs/flow.svg

# -- tests --------------------------------------------------------------------------------------

# The list and how it was chosen: tests/quick.txt, CONTRIBUTING.md. Ten examples of each property, the same in every run.
quick: install ## The tests that tell most, in under a minute: every package, and the whole way by CLI, library, S3 and Dask
	@$(PYTEST) -q --hypothesis-profile=quick -m "not slow and not aws and not spark" @tests/quick.txt

test: install ## Run the tests: all but those marked slow or aws
	@$(PYTEST) -m "not slow and not aws"

test-slow: install ## Run the slow tests
	@$(PYTEST) -m "slow and not aws"

test-pythons: install ## Run the tests of the readers and of inference on the other Pythons that are here
	@$(BIN)/python scripts/pythons.py

test-aws: install ## Run the tests that talk to a real AWS account (needs credentials and BRIQUETTE_AWS_TEST_URL)
	@$(PYTEST) -m aws

# -- checks -------------------------------------------------------------------------------------

lint: $(VENV)/.dev ## Check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Fix style and format where that is safe
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.dev ## Check types (mypy --strict)
	@$(BIN)/mypy $(CODE)

house: $(VENV)/.dev ## Check the rules of the code: who imports what, sizes of modules, words
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q tests/test_house.py

# Left out: what only repeats on a server, and what tries thousands of row groups or damaged files. Every branch has a
# test of its own that is quick. Hypothesis draws the same examples in every run, so that a branch is not hit by luck.
COVERING := tests/unit/planning/test_plan.py tests/unit/planning/test_plan_mutants.py tests/unit/parquet/test_packing.py tests/unit/parquet/test_splice.py \
            tests/unit/parquet/test_splice_mutants.py tests/unit/publishing/test_publish.py tests/unit/publishing/test_publish_mutants.py \
            tests/unit/publishing/test_publish_in_place.py tests/unit/publishing/test_publish_probe.py tests/unit/publishing/test_publish_checks.py \
            tests/unit/publishing/test_early_parts.py tests/reliability/test_corruption.py tests/flow/test_copies.py \
            tests/unit/decoding/test_refused_objects.py tests/unit/publishing/test_publish_identity.py
NOT_COVERING := s3 or two_thousand or never_crashes or first_read_costs or any_json or crash_before_any_write or killed

coverage: install ## Fail unless the unit tests take every branch of plan, splice and publish
	@$(PYTEST) -q --cov --cov-report=term --hypothesis-profile=ci -m "not slow and not aws" -k "not ($(NOT_COVERING))" $(COVERING)

SAMPLE  ?= 80
SEED    ?= 1

mutation: $(VENV)/.dev ## Mutation score of plan, splice and publish: a sample (SAMPLE, SEED), in a copy; see docs/mutation.md
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --target build/cosmic-ray cosmic-ray==8.7.0
	@$(BIN)/python -u scripts/mutate.py --sample $(SAMPLE) --seed $(SEED) --tools build/cosmic-ray

SECONDS ?= 60

fuzz: $(VENV)/.dev ## Fuzz every reader of bytes for SECONDS each, guided by coverage (Linux on x86-64)
	@$(BIN)/python -m tests.reliability.fuzz_readers --seconds $(SECONDS)

api: $(VENV)/.dev ## Build the API reference from the docstrings to build/api; a warning is an error
	@$(BIN)/python scripts/api_reference.py

package: $(VENV)/.dev ## Build the wheel and check that it works outside this checkout
	@$(BIN)/python scripts/check_wheel.py

glue: $(VENV)/.dev ## Build the wheel and the Glue job scripts with their parameters
	@$(BIN)/python scripts/build_glue.py

synth: $(VENV)/.dev ## Write the CloudFormation templates of every environment to cdk.out; no account, no Docker
	@CDK_OUTDIR=cdk.out $(JSII) $(BIN)/python -m orchestration.app
	@ls cdk.out/*.template.json

audit: $(VENV)/.dev ## Compare the locked dependencies with public advisories (needs the network)
	@$(BIN)/uvx --quiet pip-audit==2.10.1 --requirement requirements.lock --no-deps --disable-pip --strict --progress-spinner off \
		|| { echo "audit: an advisory applies, or pip-audit or its database could not be reached; see above." >&2; exit 1; }

check: ## What CI runs, in its order: .ci/run
	@.ci/run

clean: ## Remove the environment, caches and what was built
	rm -rf $(VENV) build cdk.out dist demo *.egg-info .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
