#!/bin/sh
# Writes the hash-pinned locks from pyproject.toml; `dev` holds everything, the others are cut from it.
# `bench` is the environment of the service that `make bench` compares with, `docs` the one of `make docs`. Pins stay where
# they fit; `--upgrade` as the one argument takes the newest of everything.
set -eu
cd "$(dirname "$0")/.."
newest=${1:-}
lock() {
  out=requirements/$1.txt; shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command 'make lock' --no-emit-index-url $newest "$@" -o "$out"
}
lock dev pyproject.toml --extra serve --extra train --extra client --extra report --extra scale --extra search --extra dev
lock train pyproject.toml --extra train --constraints requirements/dev.txt
lock serve pyproject.toml --extra serve --constraints requirements/dev.txt
lock scale pyproject.toml --extra serve --extra scale --constraints requirements/dev.txt
lock tools pyproject.toml --extra serve --extra train --extra report --constraints requirements/dev.txt
lock bench requirements/bench.in --constraints requirements/dev.txt
lock docs requirements/docs.in
# Two tools have environments of their own under .cache: pip-audit, and the AWS CLI, whose botocore is not that of dvc-s3.
lock audit requirements/audit.in
lock aws requirements/aws.in
