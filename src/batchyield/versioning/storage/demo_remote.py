"""The demo: from a bare clone to a verified, running service; and the same with another raw file."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

from batchyield.errors import ArtifactError, ConfigError
from batchyield.plant.simulator import simulate
from batchyield.serving.lockfile import read_lock
from batchyield.versioning import git, hydra_params
from batchyield.versioning.dvc import dvc
from batchyield.versioning.lock_diff import LOCK, align_columns, compare_outputs
from batchyield.versioning.revisions import read_lock_at
from batchyield.versioning.storage import embedded_s3, raw_data, remotes

say = functools.partial(print, flush=True)
"""Print a line of progress."""


def seed_bucket(server: embedded_s3.Server) -> str:
    """Write the sample plant's batches to the embedded bucket unless it has raw data; return a message."""
    if embedded_s3.has_object(server, raw_data.KEY):
        return f"the bucket already holds {raw_data.KEY}"
    embedded_s3.put_object(server, raw_data.KEY, simulate().csv())
    return f"put the sample plant's batches at {raw_data.KEY}"


def run_service(root: Path, host: str, port: int) -> int:
    """Run the service in `root` until it ends or Ctrl-C; return its exit code."""
    with subprocess.Popen(  # noqa: S603 - our own fixed command
        [sys.executable, "-m", "api", "--host", host, "--port", str(port)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": "src"},
    ) as service:
        try:
            return service.wait()
        except KeyboardInterrupt:
            service.terminate()
            return service.wait()


def demo(s3_port: int | None, host: str, port: int, *, serving: bool = True) -> int:
    """Rebuild everything from the sample plant, compare it with the committed lock, and serve it if `serving`.

    Args:
        s3_port: of the embedded server; None: the configured one.
        host, port: of the service.

    Returns:
        The exit code of the service, or 0.

    Raises:
        ArtifactError: an output differs from the commit.
    """
    begun = time.monotonic()
    server = remotes.embedded_server(s3_port)
    with embedded_s3.running(server):
        say(f"S3       {server.url} over {remotes.ROOT}/; {seed_bucket(server)}")
        for message in raw_data.clean_cache():
            say(message)
        say(f"raw data {raw_data.fetch()}")
        dvc("repro")
        rows = compare_outputs(read_lock_at("HEAD", Path()), read_lock(LOCK))
        say("\nrebuilt outputs, compared with the committed dvc.lock")
        verdicts = ("same" if row.same else f"DIFFERENT, committed {row.committed}" for row in rows)
        cells = ((r.stage, r.path, r.rebuilt or "not built", v) for r, v in zip(rows, verdicts, strict=True))
        say("\n".join(align_columns(cells)))
        different = sum(not row.same for row in rows)
        if different:
            raise ArtifactError(
                "dvc.lock",
                f"{different} of {len(rows)} outputs differ from the commit",
                "`git diff dvc.lock params.yaml` shows what changed; a changed param or module is the usual reason",
            )
        say(f"  all {len(rows)} outputs are the committed bytes, after {time.monotonic() - begun:.0f} s\n")
        code = run_service(Path(), host, port) if serving else 0
    say(
        "\nstopped. `make s3-start` starts the S3 server alone for `dvc push` and `dvc pull`; `make serve` the service."
    )
    return code


def rebuild_on(
    data: Path, target: Path, overrides: list[str], s3_port: int | None, host: str, port: int, *, serving: bool = False
) -> int:
    """Pin the plant's CSV `data` in a workspace at `target`, rebuild there with Hydra overrides, and serve as `demo`.

    The current checkout, its lock and its bucket do not change.

    Raises:
        ConfigError: there is no such file.
        CommandError: a stage failed, for example because the data break the contract.
    """
    if not data.is_file():
        raise ConfigError(f"{data} is not a file", "name the plant's CSV: `make repro-real DATA=path/to/batches.csv`")
    root = git.copy_working_tree(Path(), target)
    hydra_params.write_params(root, overrides)
    server = remotes.embedded_server(s3_port, root, fallback=remotes.PORT + 1)
    with embedded_s3.running(server):
        embedded_s3.put_object(server, raw_data.KEY, data.read_bytes())
        dvc("update", str(raw_data.PIN), cwd=root)
        dvc("repro", cwd=root)
        dvc("metrics", "show", cwd=root)
        say(f"\nrebuilt in {target}; look at {target}/data/validated/report.md, or `cd {target}` and use DVC there")
        return run_service(root, host, port) if serving else 0
