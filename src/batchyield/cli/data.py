"""`batchyield data`: the raw data, the storage that holds it, and the whole rebuild from it."""

import argparse
import sys
from pathlib import Path
from typing import Any

from batchyield.cli.options import (
    Commands,
    add_json_option,
    add_s3_option,
    add_service_options,
    print_progress,
    print_result,
)


def add_commands(nouns: Commands) -> None:
    """Add the commands of `batchyield data`."""
    data = nouns.add_noun("data", "Raw data and their storage on S3: simulate, import, fetch, audit, rebuild.")

    simulate = data.add("simulate", _simulate, "Write a CSV of the sample plant.", "data simulate --out batches.csv")
    simulate.add_argument("--rows", type=int, help="number of batches (that of the pinned sample)")
    simulate.add_argument("--seed", type=int, help="same seed, same bytes (that of the pinned sample)")
    simulate.add_argument("--out", type=Path, help="file to write (standard output)")

    about = "Make a CSV the pinned raw data: check, upload, pin, mirror, rebuild, and report what changed."
    imports = data.add("import", _import, about, "data import batches.csv")
    imports.add_argument("file", type=Path, help="the plant's CSV with yields")
    imports.add_argument("--no-repro", action="store_true", help="pin only; run `dvc repro` later")
    about = "pin the object's version id from now on (the bucket keeps versions)"
    imports.add_argument("--version-aware", action="store_true", help=about)
    imports.add_argument("--force", action="store_true", help="overwrite an object that has no other copy")
    add_json_option(imports)
    add_s3_option(imports)

    about = "Rebuild the pipeline on another CSV in a workspace of its own; the checkout stays as it is."
    rebuild = data.add("rebuild", _rebuild, about, "data rebuild batches.csv model=ridge")
    rebuild.add_argument("file", type=Path, help="the plant's CSV with yields")
    rebuild.add_argument("overrides", nargs="*", help="Hydra overrides, for example model=ridge evaluation=quick")
    rebuild.add_argument("--into", type=Path, default=Path(".cache/rebuild"), help="the workspace (%(default)s)")
    rebuild.add_argument("--serve", action="store_true", help="serve the result until Ctrl-C")
    add_s3_option(rebuild)
    add_service_options(rebuild)

    about = "Fetch the pinned raw data into the workspace and remove corrupt files from the DVC cache."
    add_json_option(data.add("fetch", _fetch, about, "data fetch"))

    mirror = data.add("mirror", _mirror, "Copy the pinned raw data into the DVC storage.", "data mirror")
    add_json_option(mirror)
    add_s3_option(mirror)

    about = "Check that S3 holds, byte for byte, every object that this checkout pins."
    audit = data.add("audit", _audit, about, "data audit --json")
    add_json_option(audit)
    add_s3_option(audit)

    about = "Rebuild the sample plant's model, compare it with the committed dvc.lock, and serve it."
    demo = data.add("demo", _demo, about, "data demo --no-serve")
    demo.add_argument("--no-serve", action="store_true", help="end after the comparison")
    add_s3_option(demo)
    add_service_options(demo)

    s3 = data.add_noun("s3", "The embedded S3 server: start, stop, status.")
    add_s3_option(s3.add("start", _s3_start, "Start the embedded S3 server in the background.", "data s3 start"))
    add_s3_option(s3.add("stop", _s3_stop, "Stop the embedded S3 server.", "data s3 stop"))
    status = s3.add("status", _s3_status, "Report whether the embedded S3 server answers.", "data s3 status --json")
    add_json_option(status)
    add_s3_option(status)


def _simulate(options: argparse.Namespace) -> int:
    from batchyield.files import write_atomic
    from batchyield.plant.simulator import DEFAULT_ROWS, DEFAULT_SEED, simulate

    rows = DEFAULT_ROWS if options.rows is None else options.rows
    data = simulate(rows=rows, seed=DEFAULT_SEED if options.seed is None else options.seed).csv()
    if options.out is None:
        sys.stdout.buffer.write(data)
    else:
        write_atomic(options.out, data)
        print(f"wrote {rows} batches to {options.out}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.new_data import new_data, render

    result = new_data(
        options.file,
        s3_port=options.s3_port,
        repro=not options.no_repro,
        force=options.force,
        by_version=options.version_aware,
        progress=print_progress,
    )
    print_result(result, options, render)
    return 0


def _rebuild(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.demo_remote import rebuild_on

    return rebuild_on(
        *(options.file, options.into, options.overrides, options.s3_port, options.host, options.port),
        serving=options.serve,
    )


def _fetch(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage import raw_data

    lines = [*raw_data.clean_cache(), f"raw data {raw_data.fetch()}"]
    print_result(lines, options, "\n".join)
    return 0


def _mirror(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage import content_store, raw_data, remotes

    with remotes.started(Path(), options.s3_port):
        print_progress(f"raw data {raw_data.fetch()}")
        copy = content_store.mirror(Path(), raw_data.DATA.read_bytes(), raw_data.DATA.as_posix())
    print_result(copy, options, lambda copy: f"mirrored at {copy.key}: {copy.state}")
    return 0


def _audit(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.audit import audit, render

    result = audit(s3_port=options.s3_port)
    print_result(result, options, render)
    return 0 if result.sound else 1


def _demo(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.demo_remote import demo

    return demo(options.s3_port, options.host, options.port, serving=not options.no_serve)


def _server(options: argparse.Namespace) -> Any:
    from batchyield.versioning.storage import remotes

    return remotes.embedded_server(options.s3_port)


def _s3_start(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage import embedded_s3

    print(embedded_s3.start(_server(options)))
    return 0


def _s3_stop(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage import embedded_s3

    print(embedded_s3.stop(_server(options)))
    return 0


def _s3_status(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage import embedded_s3

    server = _server(options)
    healthy = embedded_s3.is_healthy(server)
    text = f"{server.url} {'answers' if healthy else 'does not answer'}"
    print_result({"url": server.url, "healthy": healthy}, options, lambda _: text)
    return 0 if healthy else 1
