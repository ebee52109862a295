"""Makes `secrets/` and `.env` for docker-compose.yml; what is there already is left as it is.

Everything secret is a file below `secrets/`, which only its owner may enter. The files themselves may be read by all:
Compose mounts each into its container as it is, and there another user reads it. Only the standard library is needed,
so that a host of containers needs no environment of ours.
"""

import argparse
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRIVATE, MOUNTED = 0o600, 0o644


def password() -> str:
    """192 random bits as letters and digits: nothing that a URL, a shell or JSON would want quoted."""
    return secrets.token_hex(24)


def api_key() -> str:
    """Return a new key of the API, as `batchyield keys add` makes them."""
    return f"byk_{secrets.token_urlsafe(32)}"


def key_file(operator: str, prometheus: str) -> str:
    """Return the content of `secrets/api_keys`: the hashes of the two keys."""
    keys = [("operator", ["admin", "predict", "read"], operator), ("prometheus", ["read"], prometheus)]
    created = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    entries = [
        {"name": name, "scopes": scopes, "sha256": hashlib.sha256(key.encode()).hexdigest(), "created": created}
        for name, scopes, key in keys
    ]
    return json.dumps({"keys": entries}, indent=2) + "\n"


def write(path: Path, content: str, mode: int) -> None:
    """Write a new file, complete or not at all."""
    partial = path.with_name(f".{path.name}.part")
    with partial.open("w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def make(root: Path) -> list[str]:
    """Makes what is missing below `root`; returns the names of what it made."""
    folder, made = root / "secrets", []
    folder.mkdir(mode=0o700, exist_ok=True)

    def keep(name: str, value: Callable[[], str], mode: int = MOUNTED) -> str:
        path = folder / name
        if not path.exists():
            write(path, value(), mode)
            made.append(f"secrets/{name}")
        return path.read_text()

    operator = keep("api_key", api_key, PRIVATE)
    prometheus = keep("metrics_key", api_key)
    keep("api_keys", lambda: key_file(operator, prometheus))
    journal = keep("journal_password", password)
    keep("journal_url", lambda: f"postgresql://batchyield:{journal}@postgres:5432/batchyield")
    keep("s3_key", lambda: f"{secrets.token_hex(10)},{password()}")
    for name in ("postgres", "monitor", "grafana", "elastic", "kibana", "filebeat"):
        keep(f"{name}_password", password)
    keep("kibana_encryption_key", password)
    if not (root / ".env").exists():
        shutil.copyfile(ROOT / ".env.example", root / ".env")
        (root / ".env").chmod(PRIVATE)
        made.append(".env")
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description="Make secrets/ and .env for docker-compose.yml, as far as missing.")
    parser.add_argument("--into", type=Path, default=ROOT, help="the checkout (%(default)s)")
    root = parser.parse_args().into
    made = make(root)
    print(f"made {', '.join(made)}" if made else "all was there; nothing was changed")
    print("the API key: cat secrets/api_key; Grafana's password, of `admin`: cat secrets/grafana_password")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
