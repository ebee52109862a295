#!/bin/sh
# Configures Elasticsearch and Kibana as the repository describes; may be run again.
# setup.sh elasticsearch: users, retention, index template. setup.sh kibana: the saved dashboard.
set -eu
secrets=${SECRETS:-/run/secrets}
here=$(dirname "$0")
elasticsearch=${ELASTICSEARCH:-http://elasticsearch:9200}
kibana=${KIBANA:-http://kibana:5601}
dashboard=${DASHBOARD:-/dashboard.ndjson}

# The password goes to curl by its standard input, so that no list of processes shows it.
call() {
  printf 'user = "elastic:%s"\n' "$(cat "$secrets/elastic_password")" |
    curl --config - --silent --show-error --fail-with-body --retry 10 --retry-delay 3 --retry-connrefused "$@"
  echo
}

# put PATH FILE
put() { call --request PUT --header 'Content-Type: application/json' --data "@$2" "$elasticsearch/$1"; }

# put_password PATH SECRET MORE: passwords are letters and digits (`make secrets`), and need no quoting in JSON.
put_password() {
  (umask 077 && printf '{"password":"%s"%s}' "$(cat "$secrets/$2")" "${3-}" >"$body")
  put "$1" "$body"
}
body=$(mktemp)
trap 'rm -f "$body"' EXIT

case $1 in
  elasticsearch)
    put_password _security/user/kibana_system/_password kibana_password
    put _security/role/batchyield-filebeat "$here/filebeat-role.json"
    put_password _security/user/batchyield-filebeat filebeat_password ',"roles":["batchyield-filebeat"]'
    put _ilm/policy/batchyield-log "$here/retention.json"
    put _index_template/batchyield-log "$here/template.json"
    ;;
  kibana)
    call --request POST --header 'kbn-xsrf: setup' --form "file=@$dashboard" \
      "$kibana/api/saved_objects/_import?overwrite=true"
    ;;
  *)
    echo "setup.sh: '$1' is neither elasticsearch nor kibana" >&2
    exit 2
    ;;
esac
