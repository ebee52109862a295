#!/bin/sh
# Writes the hash-pinned locks anew from pyproject.toml; `dev` holds everything, the other two are cut from it.
set -eu
cd "$(dirname "$0")/.."
lock() {
  out=requirements/$1.txt; shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command 'make lock' --no-emit-index-url pyproject.toml "$@" -o "$out"
}
lock dev --extra serve --extra train --extra client --extra report --extra dev
lock train --extra train --constraints requirements/dev.txt
lock serve --extra serve --constraints requirements/dev.txt
