# Targets that need the virtual environment create it from the locks if it is missing or older than they are.
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
S3 = $(if $(S3_PORT),--s3-port $(S3_PORT))
COMPOSE = $(if $(VERSION),VERSION=$(patsubst v%,%,$(VERSION)) )docker compose $(addprefix --profile ,$(PROFILE))
VENV := .venv
REVIEW := .cache/review
DOCS := .cache/docs
COMMA := ,
STAMP := $(VENV)/.made-from-locks
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Where it is set and uv, which compiles nothing, made .venv, each start of Python compiles all it imports: 4.5 s instead of 1.4.
unexport PYTHONDONTWRITEBYTECODE
# Settings of pip that would install elsewhere than into the environment; PIP_USER=0 overrides its configuration file too.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT
# No proxy reaches servers on this machine, such as the embedded S3 server.
ifneq ($(or $(no_proxy),$(NO_PROXY)),*)
export no_proxy := $(addsuffix $(COMMA),$(or $(no_proxy),$(NO_PROXY)))127.0.0.1,localhost,::1
export NO_PROXY := $(no_proxy)
endif

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z0-9-]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## create .venv from the locks (with uv if it is installed, else with venv and pip)

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "batchyield needs Python 3.11 to 3.14, and '$(PYTHON)' is another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@rm -rf $(VENV)
	@echo "making $(VENV) from requirements/dev.txt (some 200 packages; a minute or two without a cache)"
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --python $(PYTHON) $(VENV) && \
	  uv pip sync --quiet --python $(VENV)/bin/python --require-hashes requirements/dev.txt && \
	  uv pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt && \
	  { test -x $(VENV)/bin/dvc || \
	    { echo "pip installed elsewhere than into $(VENV): see target, prefix and root in 'pip config list'" >&2; exit 1; }; } && \
	  $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	fi
	@touch $@

demo: setup ## rebuild everything from a bare clone, verify it and serve it; Ctrl-C stops it
	@batchyield data demo $(S3) --host $(HOST) --port $(PORT)

test: setup ## run the tests; WITH=slow: also those that take long, as for a pull request; WITH=nightly: all
	@python -m pytest --numprocesses auto --dist worksteal $(addprefix --,$(WITH))

workflows: setup ## run the files in .github/workflows/ by act, every case of a pull request, a push and a release
	@python -m pytest --nightly tests/suite/test_workflow_runs.py

environments: setup ## test the service, the client and the wheel in separate environments: make environments [SESSION=tests-3.12]
	@nox $(if $(SESSION),--session $(SESSION))

lint: setup ## check code, imports, wording, params.yaml, Dockerfile, docker-compose.yml, workflows and AWS templates
	@# unspecified-encoding is a preview rule: files are UTF-8, whatever the locale
	@ruff check --quiet --preview --select PLW1514 api benchmarks deploy src
	@ruff check . && ruff format --check . && mypy && lint-imports --no-logo && batchyield model params --check
	@hadolint Dockerfile && check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	@! docker compose version >/dev/null 2>&1 || docker compose --profile '*' config --quiet
	@actionlint && zizmor --offline --quiet --no-progress .github
	@check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@cfn-lint deploy/aws/*.yaml
	@pre-commit run words --all-files

repro: setup ## rebuild what changed; starts the embedded S3 server if it is needed
	@batchyield model params --check && batchyield data s3 start $(S3) && batchyield data fetch && dvc repro
	@git diff --quiet HEAD -- dvc.lock || batchyield pin environment

new-data: setup ## make a file or a folder the pinned raw data and show what changed: make new-data FILE=batches.csv [VERSION_AWARE=1]
	@batchyield model params --check && batchyield data import "$(FILE)" $(if $(VERSION_AWARE),--version-aware) $(S3)

verify: setup ## rebuild a commit elsewhere from raw data alone and compare with its lock: make verify [REV=HEAD~1]
	@batchyield pin verify --rev $(or $(REV),HEAD) $(S3)

matrix: setup ## verify with other threads, kernels, CPU features, locales and folders (about 4 minutes)
	@python benchmarks/reproduction.py

emulated: setup ## fit every choice of model on emulated CPUs (about 30 minutes; needs Debian's qemu-user)
	@python benchmarks/emulated.py

audit: setup ## check that S3 holds, byte for byte, everything that this checkout pins
	@batchyield data audit $(S3)

repro-real: setup ## rebuild on your own file in .cache/rebuild: make repro-real DATA=batches.csv [SERVE=1] [SET="model=ridge"]
	@batchyield data rebuild "$(DATA)" $(SET) $(if $(SERVE),--serve) --host $(HOST) --port $(PORT)

gate: setup ## check the metrics against conf/gate/ and their change against a base: make gate [BASE=main]
	@batchyield review gate $(if $(BASE),--base "$(BASE)")

pull: setup ## fetch what HEAD and its base pin from S3, or rebuild it: make pull [BASE=main]
	@batchyield review fetch $(if $(BASE),--base "$(BASE)") $(S3)

verification: setup ## run make verify and keep the result for the report: .cache/review/verification.json
	@mkdir -p $(REVIEW)
	@batchyield pin verify --json $(S3) > $(REVIEW)/verification.json

report: setup ## write the report of a change, as its pull request shows it: make report [BASE=main]
	@mkdir -p $(REVIEW)
	@batchyield review report --base "$(or $(BASE),main)" --out $(REVIEW)/report.md \
	  $(if $(wildcard $(REVIEW)/verification.json),--verification $(REVIEW)/verification.json) \
	  $(if $(wildcard $(REVIEW)/replay.json),--replay $(REVIEW)/replay.json) \
	  $(if $(wildcard $(REVIEW)/bench.json),--bench $(REVIEW)/bench.json)
	@if [ -n "$$GITHUB_STEP_SUMMARY" ]; then cat $(REVIEW)/report.md >> "$$GITHUB_STEP_SUMMARY"; fi

pr-number: # writes the number of the pull request, $PR_NUMBER, beside its report
	@mkdir -p $(REVIEW) && printf '%s\n' "$$PR_NUMBER" > $(REVIEW)/number

comment-target: # validates the artifact of an untrusted run and writes the pull request's number to $GITHUB_OUTPUT
	@[ -s $(REVIEW)/report.md ] || printf '## ⚠️ The review ended without a report\n\n%s\n' "Its run says why: $$RUN_URL. A fork's run cannot read a bucket: if the change has data that are in one only, push the branch to this repository." > $(REVIEW)/report.md
	@PYTHONPATH=src $(PYTHON) -m batchyield.review.comment_target $(REVIEW)

tune: setup ## search for better hyperparameters; can be interrupted and resumed: make tune [SPACE=conf/search/line_boosting.yaml]
	@batchyield model search $(SPACE)

sweep: setup ## run and rank a grid of experiments: make sweep [GRID="model=ridge,extra_trees intervals.level=0.8,0.9"] [JOBS=2]
	@batchyield experiments run $(GRID) $(if $(JOBS),--jobs $(JOBS)) $(S3)

release: setup ## tag HEAD as a version of the model: make release [VERSION=1.2.0] [BUMP=minor] [PUSH=1] [DRY=1] [OFFLINE=1]
	@batchyield release create $(if $(VERSION),--version $(VERSION)) $(if $(BUMP),--bump $(BUMP)) $(if $(DRY),--dry-run) $(if $(OFFLINE),--offline) $(if $(PUSH),--push) $(S3)

promote: setup ## assign a version to an environment: make promote ENVIRONMENT=prod [VERSION=1.1.0 | BACK=1] [PUSH=1]
	@batchyield release promote $(ENVIRONMENT) $(VERSION) $(if $(BACK),--back) $(if $(PUSH),--push)

package: setup ## build the wheels of a release into dist/: make package [VERSION=1.2.0]
	@batchyield release package $(VERSION)

sbom: setup ## write the bill of materials (CycloneDX) of what is installed beside the wheels: make sbom [OUT=dist/sbom.cdx.json]
	@mkdir -p dist && PYTHONWARNINGS=ignore cyclonedx-py requirements requirements/serve.txt --pyproject pyproject.toml --output-reproducible \
	  -o $(or $(OUT),dist/sbom.cdx.json)

publish: setup ## upload the wheels in dist/ that the index UV_PUBLISH_CHECK_URL lacks to UV_PUBLISH_URL; see docs/release.md
	@: $${UV_PUBLISH_URL:?set it to the upload address of the index} $${UV_PUBLISH_CHECK_URL:?set it to the address that pip installs from}
	@# uv repeats the whole page that the index answers with; its first sentence says what is wrong
	@answer=$$(uv publish --no-config --quiet dist/*.whl 2>&1) || { \
	  printf '%s\n' "$$answer" | sed 's/<.*//' | tr -s '[:space:]' ' ' | cut -c 1-400 >&2; \
	  echo "  after 401, 403 or a broken pipe: check UV_PUBLISH_USERNAME and UV_PUBLISH_PASSWORD; files that are there already are skipped" >&2; exit 1; }

serve-release: setup ## serve the version that is in an environment: make serve-release [ENVIRONMENT=prod]
	@batchyield deploy serve --environment $(or $(ENVIRONMENT),prod) --host $(HOST) --port $(PORT)

quality-real: setup ## compare every model on the real plant's data with public results; needs BATCHYIELD_REAL_DATA
	@python benchmarks/quality.py $(if $(DATA),--data "$(DATA)")

docs: $(DOCS)/.made-from-lock ## build docs/ into docs/.site and check every link and anchor: make docs [SERVE=1] [PORT=8000]
	@$(DOCS)/bin/zensical $(if $(SERVE),serve --dev-addr $(HOST):$(PORT),build --strict) --config-file docs/zensical.toml

$(DOCS)/.made-from-lock: requirements/docs.txt
	@rm -rf $(DOCS) && $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/docs.txt
	@touch $@

screenshots: setup ## take the pictures of docs/console.md from a running service: make screenshots [PORT=8000]
	@python docs/images/make_screenshots.py http://$(HOST):$(PORT)

vulnerabilities: ## look up known vulnerabilities of the locked packages; skipped with a message if the database cannot be reached
	@PYTHON=$(PYTHON) requirements/audit.sh

fuzz: setup ## send 100,000 fuzzed requests to a service, none of which may make it fail: make fuzz [COUNT=1000] [SEED=2]
	@python benchmarks/fuzz.py --count $(or $(COUNT),100000) --seed $(or $(SEED),1)

bench: setup ## measure the service beside an echo and a usual service (needs wrk, two cores and the model): make bench [QUICK=1]
	@python benchmarks/serving.py $(if $(QUICK),--quick)

serve: setup ## serve the pinned model of the workspace
	@MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=131072 python -m api --host $(HOST) --port $(PORT)

deploy: setup ## switch a running service to another revision's model: make deploy REV=1.2.0
	@batchyield deploy start $(REV)

rollback: setup ## switch it back to the previous model, or to a revision: make rollback [REV=1.1.0]
	@batchyield deploy rollback $(REV)

deploy-heroku: setup ## push HEAD's image and model to Heroku: make deploy-heroku APP=my-app [VERSION=1.2.0] [DRY=1]
	@deploy/heroku/push.sh "$(APP)" $(VERSION) $(if $(DRY),--dry-run)

shadow: setup ## run a revision's model as shadow, on the same rows without answering: make shadow REV=main (REV=off ends it)
	@batchyield deploy shadow $(REV)

deploy-aws: setup ## deploy a version to an environment on AWS: make deploy-aws ENVIRONMENT=staging [VERSION=1.2.0] [DRY=1]
	@deploy/aws/deploy.sh deploy "$(ENVIRONMENT)" $(VERSION) $(if $(DRY),--dry-run)

aws-cli: .cache/awscli/made-from.txt ## install the AWS CLI into .cache/awscli, for the tests and for machines without one

.cache/awscli/made-from.txt: requirements/aws.txt
	@rm -rf .cache/awscli && $(PYTHON) -m venv .cache/awscli
	@.cache/awscli/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@cp $< $@

secrets: ## create the missing parts of secrets/ and .env for Docker Compose
	@$(PYTHON) deploy/compose/make_secrets.py

rotate: ## replace a secret in use, and restart what reads it: make rotate SECRET=journal_password
	@COMPOSE="$(COMPOSE)" deploy/compose/rotate.sh "$(SECRET)"

image: setup ## fetch and check the pinned model, and build the images: make image [VERSION=1.4.0] [PROFILE="scale tools"]
	@batchyield data s3 start $(S3) && { dvc pull --quiet train || $(MAKE) --no-print-directory repro; }
	@find data/model -type l -exec dvc unprotect {} + # Docker would copy a link into DVC's cache as a link
	@python -c 'from api.inference.hot_swap import open_pinned; from api.settings import read_settings; open_pinned(read_settings())'
	@REVISION=$$(git rev-parse HEAD)$$(git diff --quiet HEAD -- Dockerfile api data/metrics dvc.lock requirements src || echo -dirty) \
	  $(COMPOSE) build api $(if $(filter scale,$(PROFILE)),scheduler) $(if $(filter tools,$(PROFILE)),tools)

up: ## migrate, start all containers in the background and wait until they are healthy: make up [PROFILE="storage logs"]
	@COMPOSE="$(COMPOSE)" deploy/compose/up.sh

down: ## drain and stop all containers; volumes stay
	@docker compose --profile '*' down

backup: ## write the journal to a file, while the service runs: make backup [FILE=journal.dump]
	@COMPOSE="$(COMPOSE)" deploy/compose/backup.sh "$(FILE)"

restore: ## stop the service, replace the journal by that of a file, check it, and start again: make restore FILE=journal.dump
	@COMPOSE="$(COMPOSE)" deploy/compose/restore.sh "$(FILE)"

logs: ## follow the log of the service
	@$(COMPOSE) logs --follow --tail 100 api

s3-start: setup ## start the embedded S3 server in the background, and fetch the raw data
	@batchyield data s3 start $(S3) && batchyield data fetch

s3-stop: setup ## stop the embedded S3 server
	@batchyield data s3 stop $(S3)

params: setup ## compose conf/ into params.yaml
	@batchyield model params

lock: setup ## update requirements/*.txt from pyproject.toml: make lock [UPGRADE=1]
	@requirements/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## remove generated files, but neither the bucket nor the DVC cache
	@rm -rf $(VENV) .nox .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dvc_plots dist docs/.cache docs/.site
