#!/bin/sh
# `make rotate`. Replaces a secret where it is checked and in its file, and restarts what read it at its start. The file is
# written in place, because a container goes on seeing a mounted file's old content after it was replaced by another file.
set -eu
compose=${COMPOSE:-docker compose}
secret=${1:-}
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
"${PYTHON:-python3}" deploy/compose/make_secrets.py --into "$new" >/dev/null
replace() { for name; do cat "$new/secrets/$name" >"secrets/$name"; done; }
roles() { $compose run --rm --no-deps roles; }
restart() {
  for container in $($compose ps --quiet "$1"); do docker restart "$container" >/dev/null; done
  $compose up --detach --wait --no-build --no-deps --no-recreate "$1"
}
key() { # of the API; the old one is valid for another hour. A new volume starts with the keys of `api_keys`
  token=$($compose run --rm -T --no-deps --entrypoint "python -m batchyield.cli" keys keys rotate "$1" --grace 1h)
  printf %s "$token" >"$new/secrets/$secret"
  $compose run --rm -T --no-deps --entrypoint cat keys /var/lib/batchyield/keys/api_keys >"$new/secrets/api_keys"
  replace "$secret" api_keys
}
case $secret in
  api_key) key operator ;;
  metrics_key) key prometheus ;; # Prometheus reads it at every scrape
  journal_password) replace journal_password journal_url && roles && restart api ;;
  postgres_password) replace postgres_password && roles ;;
  monitor_password) replace monitor_password && roles && restart postgres-exporter ;;
  s3_key) replace s3_key && restart s3 ;;
  grafana_password)
    $compose exec -T grafana grafana cli admin reset-admin-password --password-from-stdin <"$new/secrets/grafana_password"
    replace grafana_password ;;
  *)
    echo "'$secret' is none of: api_key metrics_key journal_password postgres_password monitor_password s3_key" \
      "grafana_password; docs/compose.md has those of Elasticsearch and Kibana" >&2
    exit 2 ;;
esac
