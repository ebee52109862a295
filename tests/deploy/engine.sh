#!/usr/bin/env bash
# A Docker Engine of its own below the folder $1, until standard input is closed: by the end of the test that started it,
# however it ends. Prints `ready`, or why there is none. Then ends all that ran on it and removes its networks and files.
set -u
folder=$1
trap '' INT TERM HUP
export DOCKER_HOST=unix://$folder/docker.sock
mkdir -p "$folder"
exec 9>"${TMPDIR:-/tmp}/docker-engine-of-tests.lock" && flock 9 # one at a time on a machine: they share bridges and iptables
links() { ip -oneline link show type bridge | sed -E 's/^[0-9]+: ([^:@]+).*/\1/' | sort; }
links >"$folder/links"
iptables-save >"$folder/iptables"
dockerd --data-root "$folder/data" --exec-root "$folder/run" --pidfile "$folder/pid" --host "$DOCKER_HOST" --bridge none \
  >"$folder/log" 2>&1 </dev/null 9>&- &
engine=$!
until docker version >/dev/null 2>&1; do
  if ! kill -0 "$engine" 2>/dev/null; then tail -3 "$folder/log"; break; fi
  sleep 0.1
done
kill -0 "$engine" 2>/dev/null && echo ready
cat >/dev/null
containers=$(docker ps --all --quiet)
[ -z "$containers" ] || docker rm --force --volumes $containers >/dev/null
docker network prune --force >/dev/null
kill "$engine" 2>/dev/null && wait "$engine"
links | comm -13 "$folder/links" - | while read -r link; do ip link delete "$link"; done
iptables-restore <"$folder/iptables"
grep -oE " $folder[^ ]*" /proc/self/mounts | sort -r | while read -r mount; do umount --lazy "$mount"; done
rm -rf "$folder"
