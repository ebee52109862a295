#!/bin/sh
# At the first start of an empty database: the service's role, which owns the journal and nothing else, and the
# exporter's, which only looks. The passwords are read by psql itself, so that no list of processes shows them.
set -eu
export SECRETS="${SECRETS:-/run/secrets}"
psql --set ON_ERROR_STOP=1 --no-psqlrc --quiet --username postgres --dbname postgres <<'SQL'
\set journal `cat "$SECRETS/journal_password"`
\set monitor `cat "$SECRETS/monitor_password"`
create role batchyield login password :'journal';
create database batchyield owner batchyield;
revoke connect on database batchyield from public;
create role monitor login password :'monitor' in role pg_monitor;
grant connect on database batchyield to monitor;
SQL
