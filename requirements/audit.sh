#!/bin/sh
# Looks up the packages of the service (requirements/serve.txt) in the advisory database, by pip-audit in an environment
# of its own under .cache/audit. Exit code 0: no known vulnerability, or the database cannot be reached, with a message;
# 1: it lists some. REQUIRE=1: exit code 2 if the database cannot be reached.
set -eu
cd "$(dirname "$0")/.."
tool=.cache/audit
skip() {
  echo "vulnerabilities: skipped: $1" >&2
  [ "${REQUIRE:-0}" = 1 ] && exit 2
  exit 0
}
if ! cmp -s requirements/audit.txt "$tool/made-from.txt"; then
  rm -rf "$tool"
  "${PYTHON:-python3}" -m venv "$tool" || skip "no environment can be made for pip-audit"
  "$tool/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --require-hashes \
    -r requirements/audit.txt || { rm -rf "$tool"; skip "pip-audit cannot be installed from here"; }
  cp requirements/audit.txt "$tool/made-from.txt"
fi
base=${ADVISORIES:-https://api.osv.dev}
"$tool/bin/python" -c 'import sys, requests
requests.get(sys.argv[1], timeout=10)' "$base" 2>/dev/null || skip "the advisory database $base cannot be reached"
exec "$tool/bin/python" -m pip_audit --vulnerability-service osv --osv-url "$base/v1/query" --disable-pip --require-hashes \
  --progress-spinner off --timeout 30 -r requirements/serve.txt
