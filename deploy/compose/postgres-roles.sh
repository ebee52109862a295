#!/bin/sh
# Runs at the first start of an empty database. Creates the service's role, which owns only the journal, and the
# exporter's role, which only reads statistics. psql reads the passwords from files, so a process list does not show them.
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
