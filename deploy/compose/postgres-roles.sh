#!/bin/sh
# Runs at each start, over the database's socket. Creates what is missing of the service's role, which owns only the journal,
# and of the exporter's role, which only reads statistics; sets all passwords to those of the files, which psql reads, so
# that a process list does not show them. While PostgreSQL starts, psql exits with 2 and is tried again.
set -eu
export SECRETS="${SECRETS:-/run/secrets}"
for _ in $(seq 240); do
  code=0
  error=$(psql --set ON_ERROR_STOP=1 --no-psqlrc --quiet --username postgres --dbname postgres 2>&1 <<'SQL'
\set owner `cat "$SECRETS/postgres_password"`
\set journal `cat "$SECRETS/journal_password"`
\set monitor `cat "$SECRETS/monitor_password"`
select 'create role batchyield login' where not exists (select from pg_roles where rolname = 'batchyield') \gexec
select 'create role monitor login in role pg_monitor' where not exists (select from pg_roles where rolname = 'monitor') \gexec
select 'create database batchyield owner batchyield' where not exists (select from pg_database where datname = 'batchyield') \gexec
alter role postgres password :'owner';
alter role batchyield password :'journal';
alter role monitor password :'monitor';
revoke connect on database batchyield from public;
grant connect on database batchyield to monitor;
SQL
  ) || code=$?
  [ "$code" -eq 2 ] || break
  sleep 0.5
done
[ "$code" -eq 0 ] || { echo "the roles were not created: $error" >&2; exit "$code"; }
