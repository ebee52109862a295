#!/bin/sh
# `make restore`. Stops the API, because answers written meanwhile would collide with the restored ones; replaces the journal
# in one transaction, so that a failure leaves it as it was; migrates and checks it; starts the API again in either case.
set -eu
compose=${COMPOSE:-docker compose}
file=${1:-}
[ -f "$file" ] || { echo "there is no file '$file': make restore FILE=journal.dump" >&2; exit 2; }
$compose exec -T postgres pg_restore --list <"$file" >/dev/null || { echo "$file is not a dump of make backup" >&2; exit 2; }
$compose stop api
code=0
$compose exec -T postgres pg_restore --username postgres --dbname batchyield --clean --if-exists --no-privileges \
  --single-transaction --exit-on-error <"$file" || code=$?
if [ "$code" -eq 0 ]; then
  $compose run --rm --no-deps migrate
  $compose run --rm --no-deps migrate journal status
else
  echo "$file was not restored; the journal is as it was before" >&2
fi
$compose up --detach --wait --no-build --no-deps api
exit "$code"
