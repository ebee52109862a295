#!/bin/sh
# Proposes what `make lock UPGRADE=1 && make repro` changed in the working tree: the branch `locks` and its pull request,
# both renewed where they are open already. GH_TOKEN may push and open pull requests; `gh` reads it, git through `gh`.
# GitHub starts no workflow for what a workflow's own token opened: closing and reopening it starts the review.
set -eu
cd "$(dirname "$0")/.."
if git diff --quiet -- requirements dvc.lock data/metrics; then
  echo "locks: everything is the newest already"
  exit 0
fi
base=$(git rev-parse --abbrev-ref HEAD)
git switch --quiet --force-create locks
git -c user.name=locks -c user.email=locks@localhost commit --quiet \
  --message "Update the locks, and rebuild with them" -- requirements dvc.lock data/metrics
git -c credential.helper= -c credential.helper='!gh auth git-credential' push --quiet --force origin locks
if [ "$(gh pr list --head locks --state open --json number --jq length)" = 0 ]; then
  gh pr create --base "$base" --head locks --title "Update the locks" \
    --body "The newest of everything that pyproject.toml allows. Rebuilt, linted and tested with it by the workflow update."
fi
