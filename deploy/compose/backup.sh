#!/bin/sh
# `make backup`. Writes a dump of the journal, complete or not at all, that only its owner can read.
set -eu
umask 077
compose=${COMPOSE:-docker compose}
file=${1:-journal-$(date -u +%Y%m%dT%H%M%SZ).dump}
trap 'rm -f "$file.part"' EXIT
$compose exec -T postgres pg_dump --username postgres --format custom batchyield >"$file.part"
$compose exec -T postgres pg_restore --list <"$file.part" >/dev/null
mv "$file.part" "$file"
echo "$file: $(wc -c <"$file") bytes"
