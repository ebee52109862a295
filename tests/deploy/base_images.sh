#!/usr/bin/env bash
# Stand-ins for the images that Dockerfile and docker-compose.yml name, for an engine that cannot pull: one root file system
# from the programs that this Debian machine has, and an image on it for each. Some 20 s. Needs root, bookworm's Python with
# venv and pip, git, Prometheus, Alertmanager and the PostgreSQL exporter; downloads PostgreSQL and BusyBox. $RCLONE is its path.
set -euo pipefail
trap 'echo "base_images.sh: line $LINENO failed" >&2' ERR
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
named() { grep -ohE "$1:v?[0-9][^@ }]*" docker-compose.yml | head -1; } # image and tag, without the digest
python=python:$(sed -nE 's/^ARG PYTHON=([^@]+).*/\1/p' Dockerfile)

mkdir -p "$root"/{usr/{bin,sbin,lib,lib64,local/bin},tmp,etc/ssl/certs,var/{lib/postgresql/data,empty},run/postgresql} \
  "$root"/{prometheus,alertmanager,proc,sys,dev}
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
ln -s ../run "$root/var/run"
chmod 755 "$work"

(cd "$work" && apt-get -o APT::Sandbox::User=root download -qq postgresql-15 postgresql-client-15 busybox-static)
for package in "$work"/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink --exclude='./usr/share/doc' \
    --exclude='./usr/share/man' --exclude='./usr/share/locale' --exclude='*/llvmjit*' --exclude='*/bitcode*'
done
rm "$work"/*.deb

# What the installed packages hold, and every library that any of it is linked with. Folders are links: /bin is /usr/bin.
merged() { sed -E 's#^/(bin|sbin|lib|lib64)/#/usr/\1/#' | sort -u; }
packages=(python3.11 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib python3.11-venv python3-pip python3-pip-whl
  python3-setuptools-whl python3-wheel python3-setuptools python3-pkg-resources python3-distutils python3-lib2to3 git
  bash coreutils findutils sed grep dash tzdata netbase media-types libc-bin libc6 libstdc++6 libgcc-s1)
{ dpkg -L "${packages[@]}" 2>/dev/null | grep -vE '^/usr/share/(doc|man|locale|lintian|bash-completion)|/gconv/'
  echo /usr/bin/prometheus; echo /usr/bin/prometheus-alertmanager; echo /usr/bin/prometheus-postgres-exporter
  find /usr/share/prometheus -type f; } |
  while read -r file; do if [ -L "$file" ] || [ -f "$file" ]; then echo "$file"; fi; done | merged >"$work/files"
{ grep -E '\.so|/bin/|/git-core/git$|git-remote-http' "$work/files"
  find "$root/usr/lib/postgresql/15" -type f \( -path '*/bin/*' -o -name '*.so' \); } |
  { xargs ldd 2>/dev/null || true; } | grep -oE '/(usr/)?lib[^ ]+' | sort -u |
  while read -r library; do echo "$library"; readlink -f "$library"; done | merged >>"$work/files"
{ sed 's#^/##' "$work/files" | sort -u | tar -C / -c --no-recursion -T - 2>/dev/null || true; } | tar -x -C "$root" --keep-directory-symlink

cd "$root"
for applet in $(bin/busybox --list); do [ -e "usr/bin/$applet" ] || [ -L "usr/bin/$applet" ] || ln -s busybox "usr/bin/$applet"; done
printf '#!/bin/sh\n[ "$1" = -z ] && shift\nexec busybox nc -w 2 "$@" </dev/null\n' >usr/local/bin/nc # Debian's has no -z
chmod +x usr/local/bin/nc
ln -sf /usr/bin/python3.11 usr/local/bin/python
printf 'root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n' >etc/passwd
printf 'root:x:0:\npostgres:x:999:\n' >etc/group
chmod 1777 tmp var/lib/postgresql/data run/postgresql
chown 65534:65534 prometheus alertmanager
sed -ri "s!^#?(listen_addresses)\s*=\s*\S+.*!listen_addresses = '*'!" usr/share/postgresql/15/postgresql.conf.sample
cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ # of this machine, which may know its own package index
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >etc/pip.conf
cp "$here/postgres_entrypoint.sh" usr/local/bin/docker-entrypoint.sh
chmod 755 usr/local/bin/docker-entrypoint.sh
base=batchyield-test/debian
tar -C "$root" -c . | docker import - "$base" >/dev/null

cd "$work" && rm -rf "$root"
image() { # reads the rest of a Dockerfile
  { printf 'FROM %s\nENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/sbin:/usr/bin LANG=C.UTF-8\n' "$base"; cat; } >"$work/Dockerfile"
  docker build --quiet --tag "$1" "$work" >/dev/null
}
cd "$here/../.."
image "$python" <<<'CMD ["python"]'
image "$(named postgres)" <<'END'
STOPSIGNAL SIGINT
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END
image "$(named prom/prometheus)" <<<'ENTRYPOINT ["/usr/bin/prometheus"]'
image "$(named prom/alertmanager)" <<<'ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]'
image "$(named prometheuscommunity/postgres-exporter)" <<<'ENTRYPOINT ["/usr/bin/prometheus-postgres-exporter"]'
cp "$RCLONE" "$work/rclone"
image "$(named rclone/rclone)" <<'END'
COPY rclone /usr/local/bin/
ENTRYPOINT ["rclone"]
END
