#!/bin/sh
# `make up`. Migrates the journal beside the API that serves, then replaces the API's containers one at a time: with two
# replicas one always answers, and a migration that fails leaves the old ones serving. Builds nothing.
set -eu
compose=${COMPOSE:-docker compose}
chmod -R go+rX monitoring deploy/compose # mounted, and read by other users than the one who checked out under umask 077
$compose up --detach --no-build --no-deps postgres
for once in roles keys migrate; do
  $compose run --rm --no-deps "$once" || {
    echo "$once failed, see above: nothing was replaced, the API is as it was. Correct it, then make up again" >&2
    exit 1
  }
done
hash=$($compose config --hash api | cut -d' ' -f2)
image=$(docker image inspect --format '{{.Id}}' "$($compose config --images api | grep --max-count=1 '^batchyield:')")
for container in $($compose ps --all --quiet api); do
  made=$(docker inspect --format '{{index .Config.Labels "com.docker.compose.config-hash"}} {{.Image}}' "$container")
  [ "$made" != "$hash $image" ] || continue
  docker stop "$container" >/dev/null && docker rm "$container" >/dev/null
  $compose up --detach --wait --no-build --no-deps --no-recreate api
done
$compose up --detach --wait --no-build --no-deps api
$compose up --detach --wait --no-build
$compose exec -T api python -m batchyield.cli deploy status
