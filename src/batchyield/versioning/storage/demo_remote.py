"""The demo: from a bare clone to a verified, running service; and the same with another raw file."""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from batchyield.errors import ArtifactError, ConfigError, ConflictError
from batchyield.files import md5_of
from batchyield.monitoring.report.words import ENGLISH
from batchyield.plant import load_simulator
from batchyield.plant.batch import Batch
from batchyield.plant.place import find_place
from batchyield.plant.table import SIMULATOR, TARGET
from batchyield.serving.bias import read_params as read_bias_params
from batchyield.serving.lockfile import read_lock
from batchyield.serving.prediction import Bias
from batchyield.versioning import git, hydra_params
from batchyield.versioning.dvc import dvc
from batchyield.versioning.lock_diff import LOCK, align_columns, compare_outputs
from batchyield.versioning.revisions import read_lock_at
from batchyield.versioning.storage import embedded_s3, raw_data, raw_folder, remotes
from batchyield.versioning.storage.new_data import check_raw

if TYPE_CHECKING:
    from batchyield.client import Client

MEASURED_BATCHES, GROUP_BATCHES = 200, 10
"""Training batches whose yields the demo reports, and how many at a time."""

say = functools.partial(print, flush=True)
"""Print a line of progress."""


def seed_bucket(server: embedded_s3.Server, root: Path = Path()) -> str:
    """Write the sample plant's batches to an empty embedded bucket if `root` pins them; return a message."""
    if embedded_s3.has_object(server, raw_data.KEY):
        return f"the bucket already holds {raw_data.KEY}"
    if SIMULATOR is None or md5_of(sample := load_simulator().simulate().csv()) != raw_data.read_pin(root).md5:
        return f"the bucket has no {raw_data.KEY}, and the pinned raw data are not the sample plant's"
    embedded_s3.put_object(server, raw_data.KEY, sample)
    return f"put the sample plant's batches at {raw_data.KEY}"


def run_service(root: Path, host: str, port: int, begin: Callable[[], None] = lambda: None) -> int:
    """Run the service in `root` until it ends or Ctrl-C, and `begin` beside it; return its exit code."""
    with subprocess.Popen(  # noqa: S603 - our own fixed command
        [sys.executable, "-m", "api", "--host", host, "--port", str(port)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": "src"},
    ) as service:
        try:
            begin()
            return service.wait()
        except KeyboardInterrupt:
            service.terminate()
            return service.wait()


def report_measured(url: str) -> None:
    """Predict the last training batches by the service at `url` and report their measured yields, as a plant does.

    In groups, in the plant's order, so that the yields of earlier batches correct later predictions; prints the error
    with and without. Does nothing if the journal has outcomes already, or if there is none.
    """
    if read_bias_params(LOCK) is None:
        return
    import httpx

    from batchyield.client import Client, ClientError, Retry
    from batchyield.modelling.parquet import read_table, to_batches

    train = read_table(Path("data/split/train.parquet"))
    measured = [
        (place.at, batch, actual)
        for batch, actual in zip(to_batches(train), train["yield"].tolist(), strict=True)
        if (place := find_place(batch))
    ]
    measured = sorted(measured, key=lambda row: row[0])[-MEASURED_BATCHES:]
    if not measured:
        return
    errors: list[tuple[float, float]] = []
    try:
        with Client(url, retry=Retry(attempts=30, first_wait=0.1, longest_wait=2.0)) as client:
            client.ready()
            if httpx.get(f"{url}/v1/outcomes?limit=1", trust_env=False).json().get("outcomes", [{}]):
                return
            digest: str | None = None
            for first in range(0, len(measured), GROUP_BATCHES):
                group = measured[first : first + GROUP_BATCHES]
                made = client.predict([batch for _, batch, _ in group]).predictions
                errors += [(p.yield_ - y, p.alone().yield_ - y) for p, (_, _, y) in zip(made, group, strict=True)]
                client.record_outcomes({"id": batch.id, "yield": actual} for _, batch, actual in group)
                digest = _await_state(client, group[-1][1], digest)
    except (ClientError, httpx.HTTPError) as error:
        say(f"measured {TARGET.words} were not reported: {error}")
        return
    with_update, alone = (ENGLISH.points(sum(map(abs, column)) / len(errors)) for column in zip(*errors, strict=True))
    delayed, off = (json.loads(Path(f"data/metrics/bias_{name}.json").read_bytes()) for name in ("delay_3", "off"))
    forward = (
        f"; on batches after the training {ENGLISH.points(delayed['mae'])} and {ENGLISH.points(off['mae'])}"
        if delayed
        else ""
    )
    say(
        f"measured {TARGET.words}: the last {len(errors)} training batches were predicted in turn, and measured\n"
        f"  mean error {with_update} with bias update, {alone} without{forward}"
    )


def _await_state(client: "Client", batch: Batch, before: str | None) -> str | None:
    """Return the digest of the state of the bias update once it is another than `before`, or after a while."""
    for _ in range(100):
        bias = client.predict_one(batch, record=False).bias
        if isinstance(bias, Bias) and bias.digest != before:
            return bias.digest
        time.sleep(0.1)
    return before


def demo(s3_port: int | None, host: str, port: int, *, serving: bool = True) -> int:
    """Rebuild everything from the sample plant, compare it with the committed lock, and serve it if `serving`.

    Args:
        s3_port: of the embedded server; None: the configured one.
        host, port: of the service.

    Returns:
        The exit code of the service, or 0.

    Raises:
        ArtifactError: an output differs from the commit.
        ConfigError: the plant has no simulator.
        ConflictError: another program uses the port.
    """
    begun = time.monotonic()
    load_simulator()
    if serving:
        _require_port(host, port)
    with remotes.started(Path(), s3_port) as server:
        say(f"S3       {server.url} over {remotes.ROOT}/; {seed_bucket(server)}" if server else _elsewhere())
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
        begin = functools.partial(report_measured, f"http://{host}:{port}")
        code = run_service(Path(), host, port, begin) if serving else 0
    if server:
        say(
            "\nstopped, and the S3 server with it. `make s3-start` starts it alone, which `dvc repro`, `dvc exp run`, "
            "`dvc push` and `dvc pull` need; `make serve` starts the service."
        )
    return code


def start_s3(s3_port: int | None) -> str:
    """Start the embedded server in the background and seed its bucket; return a message.

    Does nothing if both remotes are elsewhere.
    """
    if not remotes.embedded_remotes(Path()):
        return _elsewhere()
    server = remotes.embedded_server(s3_port)
    return f"{embedded_s3.start(server)}\n{seed_bucket(server)}"


def _elsewhere() -> str:
    return f"S3       {remotes.location(Path())}; the embedded server is not needed"


def _require_port(host: str, port: int) -> None:
    if port and embedded_s3.is_taken(port, host):
        raise ConflictError(
            f"{host} port {port} cannot be had: another program uses it",
            f"stop that program, or choose another port: --port {port + 1}, with make PORT={port + 1}",
        )


def rebuild_on(
    data: Path, target: Path, overrides: list[str], s3_port: int | None, host: str, port: int, *, serving: bool = False
) -> int:
    """Pin `data`, the plant's CSV or a folder of them, in a workspace at `target`, and rebuild there.

    Hydra overrides apply, and the result is served as by `demo`. The current checkout, its lock and its bucket do not
    change.

    Raises:
        ConfigError: there is no such file.
        ConflictError: another program uses the port.
        ContractError, InputError: the file breaks the contract, or cannot be parsed; nothing was rebuilt.
        CommandError: a stage failed.
    """
    if not data.exists():
        raise ConfigError(f"{data} is not a file", "name the plant's CSV: `make repro-real DATA=path/to/batches.csv`")
    if serving:
        _require_port(host, port)
    root = git.copy_working_tree(Path(), target)
    hydra_params.write_overrides(root, overrides)
    hydra_params.write_params(root)
    files = check_raw(data, root)
    server = remotes.embedded_server(s3_port, root, workspace=True)
    with embedded_s3.running(server):
        if data.is_dir():
            raw_folder.pin_files(root, files)
        else:
            embedded_s3.put_object(server, raw_data.KEY, files[""])
            dvc("update", str(raw_data.PIN), cwd=root)
        dvc("repro", cwd=root)
        dvc("metrics", "show", cwd=root)
        # DVC and the review compare with HEAD, which must not be the sample plant's model.
        git.commit(root, f"Rebuilt on {data.name}")
        say(f"\nrebuilt in {target}; the file's report is {target}/data/validated/report.md")
        say(f"to go on there: `cd {target} && batchyield data s3 start`, then `dvc exp run` and all other commands")
        return run_service(root, host, port) if serving else 0
