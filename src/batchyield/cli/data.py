"""Raw data, where they are kept, and the whole path over them."""

import argparse
import sys
from pathlib import Path

from batchyield.cli.options import Commands, show, with_json, with_s3, with_service
from batchyield.plant.simulator import DEFAULT_ROWS, DEFAULT_SEED


def add(commands: Commands) -> None:
    """Adds `simulate`, `s3`, `fetch`, `mirror`, `new-data`, `demo` and `rebuild-on`."""
    simulate = commands.add("simulate", _simulate, "Write the sample plant's batches as the plant writes them.")
    simulate.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="number of batches (%(default)s)")
    simulate.add_argument("--seed", type=int, default=DEFAULT_SEED, help="same seed, same bytes (%(default)s)")
    simulate.add_argument("--out", type=Path, help="file to write; standard output where it is not given")

    s3 = commands.add("s3", _s3, "Start, stop or look at the embedded S3 server.")
    s3.add_argument("action", choices=["start", "stop", "status"])
    with_s3(s3)

    commands.add("fetch", _fetch, "Bring the pinned raw data into the workspace; clean the DVC cache.")

    mirror = commands.add("mirror", _mirror, "Keep a copy of the pinned raw data in our storage.")
    with_s3(mirror)

    new = commands.add(
        "new-data",
        _new_data,
        "Make a file the pinned raw data: check, upload, pin, mirror, rebuild, and show what moved.",
    )
    new.add_argument("file", type=Path, help="the plant's CSV with yields")
    new.add_argument("--no-repro", action="store_true", help="pin only; `dvc repro` is left to you")
    new.add_argument(
        "--version-aware", action="store_true", help="pin the object's version id from now on (a bucket with versions)"
    )
    new.add_argument("--force", action="store_true", help="overwrite an object of which no copy would be left")
    with_json(new, "what became of it as JSON on standard output")
    with_s3(new)

    demo = commands.add("demo", _demo, "Rebuild everything, compare it with the committed lock, and serve it.")
    demo.add_argument("--no-serve", action="store_true", help="end after the comparison")
    with_s3(demo)
    with_service(demo)

    rebuild = commands.add("rebuild-on", _rebuild_on, "Rebuild on another raw file in a workspace of its own.")
    rebuild.add_argument("data", type=Path, help="the plant's CSV with yields")
    rebuild.add_argument("--into", type=Path, default=Path(".cache/rebuild"), help="the workspace (%(default)s)")
    rebuild.add_argument("overrides", nargs="*", help="Hydra overrides, for example model=ridge evaluation=quick")
    rebuild.add_argument("--serve", action="store_true", help="serve the result until Ctrl-C")
    with_s3(rebuild)
    with_service(rebuild)


def _simulate(options: argparse.Namespace) -> int:
    from batchyield.files import write_atomic
    from batchyield.plant.simulator import simulate

    data = simulate(rows=options.rows, seed=options.seed).csv()
    if options.out is None:
        sys.stdout.buffer.write(data)
    else:
        write_atomic(options.out, data)
        print(f"wrote {options.rows} batches to {options.out}")
    return 0


def _s3(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage import embedded_s3 as s3
    from batchyield.versioning.storage import remotes

    server = remotes.embedded_server(options.s3_port)
    if options.action == "status":
        up = s3.is_healthy(server)
        print(f"{server.url} {'answers' if up else 'does not answer'}")
        return 0 if up else 1
    print(s3.start(server) if options.action == "start" else s3.stop(server))
    return 0


def _fetch(_: argparse.Namespace) -> int:
    from batchyield.versioning.storage import raw_data

    for said in raw_data.clean_cache():
        print(said)
    print(f"raw data {raw_data.fetch()}")
    return 0


def _mirror(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage import content_store, raw_data, remotes

    with remotes.started(Path(), options.s3_port):
        print(f"raw data {raw_data.fetch()}")
        made = content_store.mirror(Path(), raw_data.DATA.read_bytes(), raw_data.DATA.as_posix())
    print(f"mirrored at {made.key}: {made.state}")
    return 0


def _new_data(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.new_data import new_data, render

    made = new_data(
        options.file,
        s3_port=options.s3_port,
        repro=not options.no_repro,
        force=options.force,
        by_version=options.version_aware,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    show(made, options, render)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.demo_remote import demo

    return demo(options.s3_port, options.host, options.port, serving=not options.no_serve)


def _rebuild_on(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.demo_remote import rebuild_on

    return rebuild_on(
        *(options.data, options.into, options.overrides, options.s3_port, options.host, options.port),
        serving=options.serve,
    )
