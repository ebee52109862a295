# Every target makes the virtual environment from the locks first where it is missing or stale.
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
S3 = $(if $(S3_PORT),--s3-port $(S3_PORT))
COMPOSE = $(if $(VERSION),VERSION=$(VERSION) )docker compose $(addprefix --profile ,$(PROFILE))
VENV := .venv
REVIEW := .cache/review
DOCS := .cache/docs
STAMP := $(VENV)/.made-from-locks
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z0-9-]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv from the locks (uv where it is installed, plain venv and pip otherwise)

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "batchyield needs Python 3.11 or newer, and '$(PYTHON)' is older: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@rm -rf $(VENV)
	@echo "making $(VENV) from requirements/dev.txt (some 200 packages; a minute or two without a cache)"
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --python $(PYTHON) $(VENV) && \
	  uv pip sync --quiet --python $(VENV)/bin/python --require-hashes requirements/dev.txt && \
	  uv pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt && \
	  $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	fi
	@touch $@

demo: setup ## from a bare clone to a verified, running service; Ctrl-C stops all it started
	@batchyield data demo $(S3) --host $(HOST) --port $(PORT)

test: setup ## run all tests
	@python -m pytest --numprocesses auto --dist worksteal

environments: setup ## the service, the client and the wheel in environments of their own: make environments [SESSION=tests-3.12]
	@nox $(if $(SESSION),--session $(SESSION))

lint: setup ## ruff, mypy, import contracts, plain English, params.yaml against conf/, Dockerfile, docker-compose.yml, deploy/aws
	@ruff check . && ruff format --check . && mypy && lint-imports --no-logo && batchyield model params --check
	@hadolint Dockerfile && check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	@cfn-lint deploy/aws/*.yaml
	@pre-commit run words --all-files

repro: setup ## rebuild what changed (the embedded S3 server is started where it is needed)
	@batchyield model params --check && batchyield data s3 start $(S3) && batchyield data fetch && dvc repro
	@git diff --quiet HEAD -- dvc.lock || batchyield pin environment

new-data: setup ## make a file the pinned raw data and show what moved: make new-data FILE=batches.csv [VERSION_AWARE=1]
	@batchyield model params --check && batchyield data import "$(FILE)" $(if $(VERSION_AWARE),--version-aware) $(S3)

verify: setup ## rebuild the commit elsewhere, from raw data alone, and compare with its lock: make verify [REV=HEAD~1]
	@batchyield pin verify --rev $(or $(REV),HEAD) $(S3)

matrix: setup ## verify under other threads, kernels, CPU features, locales and folders (some 4 minutes)
	@python benchmarks/reproduction.py

emulated: setup ## the fitting step on emulated CPUs, every choice of model (some 30 minutes; needs Debian's qemu-user)
	@python benchmarks/emulated.py

audit: setup ## does S3 still hold, byte for byte, everything that this checkout pins?
	@batchyield data audit $(S3)

repro-real: setup ## rebuild on your own file in .cache/rebuild: make repro-real DATA=batches.csv [SERVE=1] [SET="model=ridge"]
	@batchyield data rebuild "$(DATA)" $(SET) $(if $(SERVE),--serve) --host $(HOST) --port $(PORT)

gate: setup ## judge the figures by conf/gate/, and their change against a base: make gate [BASE=main]
	@batchyield review gate $(if $(BASE),--base "$(BASE)")

pull: setup ## fetch the outputs that HEAD and its base pin from S3, or rebuild them: make pull [BASE=main]
	@batchyield review fetch $(if $(BASE),--base "$(BASE)") $(S3)

verification: setup ## make verify, for the report: .cache/review/verification.json
	@mkdir -p $(REVIEW)
	@batchyield pin verify --json $(S3) > $(REVIEW)/verification.json

report: setup ## the page on a change, as its pull request gets it: make report [BASE=main]
	@mkdir -p $(REVIEW)
	@batchyield review report --base "$(or $(BASE),main)" --out $(REVIEW)/report.md \
	  $(if $(wildcard $(REVIEW)/verification.json),--verification $(REVIEW)/verification.json) \
	  $(if $(wildcard $(REVIEW)/replay.json),--replay $(REVIEW)/replay.json) \
	  $(if $(wildcard $(REVIEW)/bench.json),--bench $(REVIEW)/bench.json)
	@if [ -n "$$GITHUB_STEP_SUMMARY" ]; then cat $(REVIEW)/report.md >> "$$GITHUB_STEP_SUMMARY"; fi

pr-number: # writes the number in $PR_NUMBER beside the report
	@mkdir -p $(REVIEW) && printf '%s\n' "$$PR_NUMBER" > $(REVIEW)/number

comment-target: # checks what an untrusted run left in .cache/review; prints the number for $GITHUB_OUTPUT
	@PYTHONPATH=src $(PYTHON) -m batchyield.review.comment_target $(REVIEW)

tune: setup ## search for better hyperparameters, resumable: make tune [SPACE=conf/search/line_boosting.yaml]
	@batchyield model search $(SPACE)

sweep: setup ## a grid of experiments, ranked: make sweep [GRID="model=ridge,extra_trees intervals.level=0.8,0.9"] [JOBS=2]
	@batchyield experiments run $(GRID) $(if $(JOBS),--jobs $(JOBS)) $(S3)

release: setup ## tag HEAD as a version of the model: make release [VERSION=1.2.0] [BUMP=minor] [PUSH=1] [DRY=1] [OFFLINE=1]
	@batchyield release create $(if $(VERSION),--version $(VERSION)) $(if $(BUMP),--bump $(BUMP)) $(if $(DRY),--dry-run) $(if $(OFFLINE),--offline) $(if $(PUSH),--push) $(S3)

promote: setup ## put a version into an environment: make promote ENVIRONMENT=prod [VERSION=1.1.0 | BACK=1] [PUSH=1]
	@batchyield release promote $(ENVIRONMENT) $(VERSION) $(if $(BACK),--back) $(if $(PUSH),--push)

package: setup ## build the wheels of a release into dist/: make package [VERSION=1.2.0]
	@batchyield release package $(VERSION)

publish: setup ## upload the wheels in dist/ that the index UV_PUBLISH_CHECK_URL lacks to UV_PUBLISH_URL; see docs/release.md
	@: $${UV_PUBLISH_URL:?set it to the upload address of the index} $${UV_PUBLISH_CHECK_URL:?set it to the address that pip installs from}
	@uv publish --no-config --quiet dist/*.whl

serve-release: setup ## serve the version that is in an environment: make serve-release [ENVIRONMENT=prod]
	@batchyield deploy serve --environment $(or $(ENVIRONMENT),prod) --host $(HOST) --port $(PORT)

quality-real: setup ## every model on the real plant's data beside public results: needs BATCHYIELD_REAL_DATA
	@python benchmarks/quality.py $(if $(DATA),--data "$(DATA)")

docs: $(DOCS)/.made-from-lock ## build docs/ into docs/.site and check every link and anchor: make docs [SERVE=1] [PORT=8000]
	@$(DOCS)/bin/zensical $(if $(SERVE),serve --dev-addr $(HOST):$(PORT),build --strict) --config-file docs/zensical.toml

$(DOCS)/.made-from-lock: requirements/docs.txt
	@rm -rf $(DOCS) && $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/docs.txt
	@touch $@

vulnerabilities: ## known ones in what the service runs on; skipped with a message where the database cannot be reached
	@PYTHON=$(PYTHON) requirements/audit.sh

fuzz: setup ## 100,000 fuzzed requests to a service process; none may make it fail: make fuzz [COUNT=1000] [SEED=2]
	@python benchmarks/fuzz.py --count $(or $(COUNT),100000) --seed $(or $(SEED),1)

bench: setup ## how fast the service answers, beside an echo and a usual service (needs wrk, two cores and the model): make bench [QUICK=1]
	@python benchmarks/serving.py $(if $(QUICK),--quick)

serve: setup ## serve the pinned model that is in the workspace
	@MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=131072 python -m api --host $(HOST) --port $(PORT)

deploy: setup ## have a running service serve another revision's model: make deploy REV=v1.2.0
	@batchyield deploy start $(REV)

rollback: setup ## have it serve what served before, or a named revision: make rollback [REV=v1.1.0]
	@batchyield deploy rollback $(REV)

deploy-heroku: setup ## push HEAD's image and model to Heroku: make deploy-heroku APP=my-app [VERSION=1.2.0] [DRY=1]
	@deploy/heroku/push.sh "$(APP)" $(VERSION) $(if $(DRY),--dry-run)

shadow: setup ## let a revision's model see the same rows and answer nobody: make shadow REV=main (REV=off ends it)
	@batchyield deploy shadow $(REV)

deploy-aws: setup ## have an environment on AWS serve a version: make deploy-aws ENVIRONMENT=staging [VERSION=1.2.0] [DRY=1]
	@deploy/aws/deploy.sh deploy "$(ENVIRONMENT)" $(VERSION) $(if $(DRY),--dry-run)

aws-cli: .cache/awscli/made-from.txt ## install the AWS CLI into .cache/awscli, for the tests and for machines without one

.cache/awscli/made-from.txt: requirements/aws.txt
	@rm -rf .cache/awscli && $(PYTHON) -m venv .cache/awscli
	@.cache/awscli/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@cp $< $@

secrets: setup ## make secrets/ and .env for Docker Compose, as far as they are missing
	@python deploy/compose/make_secrets.py

image: setup ## fetch and check the pinned model, and build the image of the service: make image [VERSION=1.4.0] [PROFILE=scale]
	@batchyield data s3 start $(S3) && { dvc pull --quiet train || $(MAKE) --no-print-directory repro; }
	@python -c 'from api.inference.hot_swap import open_pinned; from api.settings import read_settings; open_pinned(read_settings())'
	@REVISION=$$(git rev-parse HEAD)$$(git diff --quiet HEAD -- Dockerfile api dvc.lock requirements src || echo -dirty) \
	  $(COMPOSE) build api $(if $(filter scale,$(PROFILE)),scheduler)

up: ## start all in the background and wait until it is healthy: make up [PROFILE="logs scale"]
	@$(COMPOSE) up --detach --wait

down: ## stop all, after draining; volumes stay
	@docker compose --profile logs --profile scale down

logs: ## follow the log of the service
	@$(COMPOSE) logs --follow --tail 100 api

s3-start: setup ## start the embedded S3 server in the background
	@batchyield data s3 start $(S3)

s3-stop: setup ## stop it
	@batchyield data s3 stop $(S3)

params: setup ## compose conf/ into params.yaml
	@batchyield model params

lock: setup ## write requirements/*.txt from pyproject.toml: make lock [UPGRADE=1]
	@requirements/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## remove what was made, but neither the bucket nor the DVC cache
	@rm -rf $(VENV) .nox .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dvc_plots dist docs/.cache docs/.site
