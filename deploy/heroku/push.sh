#!/usr/bin/env bash
# Pushes the build context of the image with the pinned model to a Heroku application; see docs/deploy-heroku.md.
# The pushed commit has no parent. It is created in a scratch clone, so the checkout does not change.
set -euo pipefail
if [ $# -lt 1 ] || [[ $1 == -* ]]; then
  echo "usage: deploy/heroku/push.sh APP [VERSION] [--dry-run]    (VERSION: 1.2.0, or an environment; without it: HEAD)" >&2
  exit 2
fi
app=$1 version='' dry_run=no
for word in "${@:2}"; do
  case $word in --dry-run) dry_run=yes ;; *) version=$word ;; esac
done
remote=https://git.heroku.com/$app.git
checkout=$(git rev-parse --show-toplevel)
if [ -n "$version" ]; then
  release=$(batchyield release show "$version")
  version=$(sed -n 's/^version=//p' <<<"$release")
  revision=$(sed -n 's/^revision=//p' <<<"$release")
else
  revision=$(git rev-parse --verify HEAD)
  version=$(git tag --points-at HEAD 'yield-model@v*' | sed 's/.*@v//' | tail -n 1)
fi

cache=$(dvc cache dir)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet --shared --no-checkout "$checkout" "$work"
cd "$work"
git -c advice.detachedHead=false checkout --quiet "$revision"

# The model comes from the DVC cache or else from the storage; other bytes than dvc.lock pins are refused.
[ ! -e "$checkout/.dvc/config.local" ] || cp "$checkout/.dvc/config.local" .dvc/
dvc cache dir --quiet --local "$cache"
dvc checkout --quiet train 2>/dev/null || dvc pull train >&2
PYTHONPATH=src BATCHYIELD_LOCK=$work/dvc.lock python -B -c 'from api.inference.hot_swap import open_pinned; from api.settings import read_settings; open_pinned(read_settings())'

# With an entry point, Heroku would pass it the commands of heroku.yml as arguments; without one, a shell runs them.
sed -i 's/^ENTRYPOINT .*/ENTRYPOINT []/' Dockerfile
sed "s/REVISION: unknown/REVISION: \"$revision\"/; s/VERSION: unreleased/VERSION: \"${version:-unreleased}\"/" \
  deploy/heroku/heroku.yml >heroku.yml
git read-tree --empty
sed -n 's/^!//p' .dockerignore | xargs git add --force Dockerfile .dockerignore heroku.yml
commit=$(git -c user.name=batchyield -c user.email=batchyield@localhost \
  commit-tree -m "batchyield ${version:-unreleased}, $revision" "$(git write-tree)")

echo "commit ${revision:0:12}, version ${version:-unreleased}"
if [ "$dry_run" = yes ]; then
  git ls-tree -r --long "$commit" | awk '{print $4, $5}'
  echo "would run: git push --force $remote COMMIT:refs/heads/main"
else
  git push --force "$remote" "$commit:refs/heads/main"
  echo "pushed; heroku releases --app $app shows whether the release phase succeeded"
fi
