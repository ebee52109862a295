# Every target makes the virtual environment from the locks first where it is missing or stale.
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
S3 = $(if $(S3_PORT),--s3-port $(S3_PORT))
VENV := .venv
REVIEW := .cache/review
PIP_AUDIT := 2.10.1
STAMP := $(VENV)/.made-from-locks
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint repro repro-real verify audit gate pull verification report pr-number comment-target vulnerabilities tune quality-real serve s3-start s3-stop params lock clean

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
	@batchyield demo $(S3) --host $(HOST) --port $(PORT)

test: setup ## run all tests
	@python -m pytest --numprocesses auto --dist worksteal

lint: setup ## ruff, mypy, import contracts, params.yaml against conf/
	@ruff check . && ruff format --check . && mypy && lint-imports --no-logo && batchyield params --check

repro: setup ## rebuild what changed (the embedded S3 server is started where it is needed)
	@batchyield params --check && batchyield s3 start $(S3) && batchyield fetch && dvc repro
	@git diff --quiet HEAD -- dvc.lock || batchyield environment

verify: setup ## rebuild the commit elsewhere, from raw data alone, and compare with its lock: make verify [REV=HEAD~1]
	@batchyield verify --rev $(or $(REV),HEAD) $(S3)

audit: setup ## does S3 still hold, byte for byte, everything that this checkout pins?
	@batchyield audit $(S3)

repro-real: setup ## rebuild on your own file in .cache/rebuild: make repro-real DATA=batches.csv [SERVE=1] [SET="model=ridge"]
	@batchyield rebuild-on "$(DATA)" $(SET) $(if $(SERVE),--serve) --host $(HOST) --port $(PORT)

gate: setup ## judge the figures by conf/gate/, and their change against a base: make gate [BASE=main]
	@batchyield gate $(if $(BASE),--base "$(BASE)")

pull: setup ## bring all that HEAD and its base pin, from S3 or else rebuilt: make pull [BASE=main]
	@batchyield pull $(if $(BASE),--base "$(BASE)") $(S3)

verification: setup ## make verify, for the report: .cache/review/verification.json
	@mkdir -p $(REVIEW)
	@batchyield verify --json $(S3) > $(REVIEW)/verification.json

report: setup ## the page on a change, as its pull request gets it: make report [BASE=main]
	@mkdir -p $(REVIEW)
	@batchyield report --base "$(or $(BASE),main)" --out $(REVIEW)/report.md \
	  $(if $(wildcard $(REVIEW)/verification.json),--verification $(REVIEW)/verification.json) \
	  $(if $(wildcard $(REVIEW)/replay.json),--replay $(REVIEW)/replay.json) \
	  $(if $(wildcard $(REVIEW)/bench.json),--bench $(REVIEW)/bench.json)
	@if [ -n "$$GITHUB_STEP_SUMMARY" ]; then cat $(REVIEW)/report.md >> "$$GITHUB_STEP_SUMMARY"; fi

pr-number: # of the pull request in $PR_NUMBER, laid beside its report
	@mkdir -p $(REVIEW) && printf '%s\n' "$$PR_NUMBER" > $(REVIEW)/number

comment-target: # checks what an untrusted run left in .cache/review, and tells the number for $GITHUB_OUTPUT
	@PYTHONPATH=src $(PYTHON) -m batchyield.comment $(REVIEW)

vulnerabilities: ## ask the advisory database about every locked package (needs pipx)
	@pipx run pip-audit==$(PIP_AUDIT) --disable-pip --require-hashes --requirement requirements/dev.txt

tune: setup ## search for better settings of the model: make tune [SPACE=search/line_boosting.yaml]
	@batchyield tune $(SPACE)

quality-real: setup ## every model on the real plant's data beside public results: needs BATCHYIELD_REAL_DATA
	@python benchmarks/quality.py $(if $(DATA),--data "$(DATA)")

serve: setup ## serve the pinned model that is in the workspace
	@python -m api --host $(HOST) --port $(PORT)

s3-start: setup ## start the embedded S3 server in the background
	@batchyield s3 start $(S3)

s3-stop: setup ## stop it
	@batchyield s3 stop $(S3)

params: setup ## compose conf/ into params.yaml
	@batchyield params

lock: ## write requirements/*.txt anew from pyproject.toml (needs uv)
	@requirements/lock.sh

clean: ## remove what was made, but neither the bucket nor the DVC cache
	@rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dvc_plots dist
