"""Time and memory that the service needs to refuse bodies of 15 MB that would grow large in memory.

python -m benchmarks.bombs [--check]

Needs the model that dvc.lock pins. `--check` exits with 1 if a refusal takes 5 s or adds 150 MiB to the peak.
"""

import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.contenders import HOST, running, service

MEGABYTES = 15 * 2**20
BOMBS = {
    "empty batches": ("application/json", b'{"inputs":[' + b"{}," * (MEGABYTES // 3) + b"{}]}"),
    "numbers": ("application/json", b'{"inputs":[' + b"1," * (MEGABYTES // 2) + b"1]}"),
    "one bad batch, then numbers": ("application/json", b'{"inputs":[{"A1":""},' + b"1," * (MEGABYTES // 2) + b"1]}"),
    "brackets": ("application/json", b"[" * MEGABYTES),
    "open strings": ("application/json", b"{" * 20_000 + b'"\\' * (MEGABYTES // 2)),
    "lines": ("text/csv", b"\n" * MEGABYTES),
    "rows": ("text/csv", b"1" + (b"," * 42 + b"\n") * (MEGABYTES // 43)),
    "columns": ("text/csv", b"a" + b",b" * (MEGABYTES // 2) + b"\n1\n"),
    "quotes": ("text/csv", b'"' * MEGABYTES),
    "parts": ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n" * (MEGABYTES // 9)),
    "part headers": ("multipart/form-data; boundary=x", b"--x\r\n" + b"a:b\r\n" * (MEGABYTES // 5)),
}
MOST_SECONDS, MOST_MEBIBYTES = 5.0, 150.0


def path_of(bomb: str) -> str:
    """Return the route that the body is sent to."""
    return "/v1/predictions" if BOMBS[bomb][0] == "application/json" else "/v1/predictions/csv"


def headers_of(bomb: str) -> dict[str, str]:
    """Return the headers that the body is sent with."""
    return {"content-type": BOMBS[bomb][0]}


def peak(pid: int) -> float:
    """Return the most memory that a process ever held, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> int:
    """Print a line for each body; return the exit code."""
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        for bomb in BOMBS:
            with running(service(bomb, Path(folder)), body=b'{"inputs":[{}]}') as (server,):
                (worker,) = server.workers()
                before, begun = peak(worker.pid), time.perf_counter()
                url = f"http://{HOST}:{server.port}{path_of(bomb)}"
                status = httpx.post(url, content=BOMBS[bomb][1], headers=headers_of(bomb), timeout=60).status_code
                seconds, grown = time.perf_counter() - begun, peak(worker.pid) - before
            kept = kept and seconds < MOST_SECONDS and grown < MOST_MEBIBYTES
            print(f"{bomb:28} {status} {seconds:5.2f} s {grown:6.1f} MiB")
    return int("--check" in sys.argv and not kept)


if __name__ == "__main__":
    sys.exit(main())
