# Everything a developer types. Needs Python 3.11 or later and make; nothing else.

PYTHON  ?= python3
PROFILE ?= dev
VENV    := .venv
RUN     := $(VENV)/bin/python
STAMP   := $(VENV)/.installed
CODE    := $(wildcard api worker storage_backends deploy tests client)
LOCK     = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: \
           --no-header --no-annotate --no-emit-index-url $(UPGRADE)

VERSION  = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE_ARGS = $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --build-arg REVISION=$(shell git rev-parse HEAD)

export PYTHONUTF8 := 1
# Where it is set, every process of the tests would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env devserver stop status logs drain resume test lint format types imports check lock bench mutants chaos html screenshots openapi interface pages configuration \
        client client_test client_files image run push_version

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z_]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## Make the environment in .venv from the lock file (when that has changed)

$(STAMP): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11; name another one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "$(PYTHON) cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing what storage-api needs into $(VENV), once: this takes one to three minutes ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r $<
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable client
	@# What was installed goes to the disk now, and not while Redis waits for it after each change.
	@sync
	@touch $@

devserver: $(STAMP) ## Start Redis, API, workers and Flower on 127.0.0.1, and return
	@$(RUN) -m deploy.dev.devserver start

stop: $(STAMP) ## Stop all of that
	@$(RUN) -m deploy.dev.devserver stop

status: $(STAMP) ## Show what is running
	@$(RUN) -m deploy.dev.devserver status

logs: $(STAMP) ## Follow the logs of the development server (JOB=id: only the lines of one job)
	@$(if $(JOB),$(RUN) -m deploy.dev.devserver logs $(JOB),tail -n 20 -F $${SAPI_DEV_FOLDER:-.dev}/logs/*.log)

drain: $(STAMP) ## Let one worker finish and end (NODE=worker1)
	@$(RUN) -m deploy.dev.devserver drain $(NODE)

resume: $(STAMP) ## Start a worker again that was drained (NODE=worker1)
	@$(RUN) -m deploy.dev.devserver resume $(NODE)

test: $(STAMP) ## Run the tests, five at a time (T=path or node id, PROFILE=dev|ci, ARGS=more of pytest's options)
	$(RUN) -m pytest --numprocesses=$(if $(T),0,5) --dist=loadgroup --no-loadscope-reorder --hypothesis-profile=$(PROFILE) -m "not bench and not chaos" $(ARGS) $(T)

lint: $(STAMP) ## Check style and format with ruff
	$(RUN) client/tools/make_blocking.py --check
	$(RUN) client/tools/share.py --check
	$(RUN) -m ruff check $(CODE)
	$(RUN) -m ruff format --check $(CODE)

format: $(STAMP) ## Mend style and format with ruff
	$(RUN) -m ruff check --fix-only $(CODE)
	$(RUN) -m ruff format $(CODE)

types: $(STAMP) ## Check types with mypy
	$(RUN) -m mypy
	cd client && ../$(RUN) -m mypy

imports: $(STAMP) ## Check that imports keep to the contracts
	PYTHONPATH=. $(VENV)/bin/lint-imports
	cd client && PYTHONPATH=. ../$(VENV)/bin/lint-imports

check: ## All of lint, types, imports and test, and how long each took
	@for part in lint types imports test; do began=$$(date +%s); $(MAKE) --no-print-directory $$part || exit 1; \
	  echo "$$part took $$(($$(date +%s) - began)) s"; done

bench: $(STAMP) ## Measure
	$(RUN) -m tests.benchmarks $(ARGS)

mutants: $(STAMP) ## Put faults into T (worker/execution, worker/store/lua …), list those that no test notices (ARGS='--sample -1': all)
	$(RUN) -m tests.mutants $(T) $(ARGS)

chaos: $(STAMP) ## Kill parts of the running service, and look what is lost
	$(RUN) -m tests.chaos $(ARGS)
	$(RUN) -m tests.chaos.redis_trouble $(REDIS_ARGS)

html: $(STAMP) ## Build the manual as a static site in build/html
	$(RUN) -m sphinx --quiet --fail-on-warning --keep-going -b html docs build/html
	@echo "The manual is in build/html/index.html"

screenshots: $(STAMP) ## Take the pictures of docs/console.md anew from the running development server (needs Chromium)
	$(RUN) -m deploy.docs.screenshots http://127.0.0.1:$${SAPI_PORT:-8000}

openapi: $(STAMP) ## Write the OpenAPI document to build/openapi.json
	@mkdir -p build
	$(RUN) -m deploy.docs.openapi > build/openapi.json

interface: $(STAMP) ## Write anew what clients and operators rely on (tests/api/interface.txt, tests/log_lines.txt)
	$(RUN) -m tests.api.interface
	$(RUN) -m tests.log_lines

pages: $(STAMP) ## Record anew what the console's pages and script do (tests/api/console/recorded; needs Chromium)
	RECORD_PAGES=1 $(RUN) -m pytest -q -n0 tests/api/console/test_recorded_pages.py tests/api/console/test_assets.py

configuration: $(STAMP) ## Write docs/configuration.md anew from the code
	$(RUN) -m deploy.docs.configuration

client: $(STAMP) ## Build the client's wheel and sdist into build/client
	$(VENV)/bin/uv build --quiet --python $(RUN) --no-build-isolation --out-dir build/client client
	@ls build/client/*.whl build/client/*.tar.gz

client_test: $(STAMP) ## Install what `make client` built into clean environments, and use it there (PYTHONS=interpreters)
	client/tools/try_installed.sh

client_files: $(STAMP) ## Make the generated parts of the client: blocking client, manual page, completions
	$(RUN) client/tools/make_blocking.py
	$(RUN) client/tools/share.py

image: ## Build the images of the front end and of the workers (PYTHON_IMAGE=their base), tagged dev and with the version
	docker build $(IMAGE_ARGS) --file Dockerfile.api --tag storage-api/api:dev --tag storage-api/api:$(VERSION) .
	docker build $(IMAGE_ARGS) --file Dockerfile.worker --tag storage-api/worker:dev --tag storage-api/worker:$(VERSION) .

run: ## Start these images with Redis, on a random port (docker compose down stops them)
	SAPI_PORT=0 SAPI_FLOWER_PORT=0 docker compose up --detach --wait
	@echo "API     http://$$(docker compose port api 8000)/    (docker port storage-api-api-1 tells it again)"
	@echo "Flower  http://$$(docker compose port flower 5555)/"
	@echo "Sign in as admin with $$(docker compose exec -T api cat /run/storage-api/basic_auth_password)"

push_version: $(STAMP) ## Run all checks, tag this commit with the version of pyproject.toml, and push the tag
	PYTHON=$(RUN) deploy/push_version.sh $(REMOTE)

lock: $(STAMP) ## Make the lock files anew from pyproject.toml (UPGRADE=--upgrade for newer versions)
	$(LOCK) --all-extras pyproject.toml -o requirements-dev.lock
	$(LOCK) -c requirements-dev.lock --extra api --extra otel pyproject.toml -o requirements-api.lock
	$(LOCK) -c requirements-dev.lock --extra worker --extra netapp --extra flower --extra otel pyproject.toml -o requirements-worker.lock
