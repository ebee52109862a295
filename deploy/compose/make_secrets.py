"""Makes `secrets/` and `.env` for docker-compose.yml; what is there already is left as it is.

Everything secret is a file below `secrets/`, which only its owner may enter. The files themselves may be read by all:
Compose mounts each into its container as it is, and there another user reads it.
"""

import argparse
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from batchyield.files import write_atomic
from batchyield.serving.auth.api_keys import READ, SCOPES, encode_keys, new_key, new_token

ROOT = Path(__file__).resolve().parents[2]
PRIVATE, MOUNTED = 0o600, 0o644


def password() -> str:
    """192 random bits as letters and digits: nothing that a URL, a shell or JSON would want quoted."""
    return secrets.token_hex(24)


def key_file(operator: str, prometheus: str) -> str:
    """Return the content of `secrets/api_keys`: the hashes of the two keys."""
    return encode_keys([new_key("operator", SCOPES, operator), new_key("prometheus", [READ], prometheus)]).decode()


def make(root: Path) -> list[str]:
    """Makes what is missing below `root`; returns the names of what it made."""
    folder, made = root / "secrets", []
    folder.mkdir(mode=0o700, exist_ok=True)

    def keep(name: str, value: Callable[[], str], mode: int = MOUNTED) -> str:
        path = folder / name
        if not path.exists():
            write_atomic(path, value().encode(), mode)
            made.append(f"secrets/{name}")
        return path.read_text()

    operator = keep("api_key", new_token, PRIVATE)
    prometheus = keep("metrics_key", new_token)
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
