"""`batchyield data`: the raw data, the storage that holds it, and the whole rebuild from it."""

import argparse
import sys
from pathlib import Path

from batchyield.cli.options import Parser, output_file, print_progress, print_result


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield data`."""
    data = program.add_noun("data", "Raw data and their storage on S3: simulate, import, fetch, audit, rebuild.")

    simulate = data.add("simulate", _simulate, "Write a CSV of the sample plant.", "--out batches.csv")
    simulate.add_argument("--rows", type=int, help="number of batches (that of the pinned sample)")
    simulate.add_argument("--seed", type=int, help="same seed, same bytes (that of the pinned sample)")
    simulate.add_argument("--out", type=output_file, help="file to write (standard output)")

    about = "Make a CSV, or a folder of them, the pinned raw data: check, upload, pin, mirror, rebuild, report."
    imports = data.add("import", _import, about, "batches.csv", json=True, s3=True)
    imports.add_argument("file", type=Path, help="the plant's CSV with outcomes, or a folder that grows by such files")
    imports.add_argument("--no-repro", action="store_true", help="pin only; run `dvc repro` later")
    imports.add_argument("--version-aware", action="store_true", help="pin the object's version id from now on")
    imports.add_argument("--force", action="store_true", help="overwrite an object that has no other copy")

    about = "Rebuild the pipeline on another CSV in a workspace of its own; the checkout stays as it is."
    rebuild = data.add("rebuild", _rebuild, about, "batches.csv model=ridge", s3=True, service=True)
    rebuild.add_argument("file", type=Path, help="the plant's CSV with outcomes, or a folder of them")
    rebuild.add_argument("overrides", nargs="*", help="Hydra overrides, for example model=ridge evaluation=quick")
    rebuild.add_argument("--into", type=Path, default=Path(".cache/rebuild"), help="the workspace (%(default)s)")
    rebuild.add_argument("--serve", action="store_true", help="serve the result until Ctrl-C")

    about = "Fetch the pinned raw data into the workspace and remove corrupt files from the DVC cache."
    data.add("fetch", _fetch, about, json=True)

    data.add("mirror", _mirror, "Copy the pinned raw data into the DVC storage.", json=True, s3=True)

    about = "Check that S3 holds, byte for byte, every object that this checkout pins."
    data.add("audit", _audit, about, "--json", json=True, s3=True)

    about = "Rebuild the sample plant's model, compare it with the committed dvc.lock, and serve it."
    demo = data.add("demo", _demo, about, "--no-serve", s3=True, service=True)
    demo.add_argument("--no-serve", action="store_true", help="end after the comparison")

    s3 = data.add_noun("s3", "The embedded S3 server: start, stop, status.")
    about = "Start the embedded S3 server in the background; does nothing if the DVC remotes are elsewhere."
    s3.add("start", _s3_start, about, s3=True)
    s3.add("stop", _s3_stop, "Stop the embedded S3 server.", s3=True)
    s3.add("status", _s3_status, "Report whether the embedded S3 server answers.", "--json", json=True, s3=True)


def _simulate(options: argparse.Namespace) -> None:
    from batchyield.files import write_atomic
    from batchyield.plant import load_simulator

    plant = load_simulator()
    rows = plant.DEFAULT_ROWS if options.rows is None else options.rows
    data = plant.simulate(rows=rows, seed=plant.DEFAULT_SEED if options.seed is None else options.seed).csv()
    if options.out is None:
        sys.stdout.buffer.write(data)
    else:
        write_atomic(options.out, data)
        print(f"wrote {rows} batches to {options.out}")


def _import(options: argparse.Namespace) -> None:
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


def _rebuild(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.demo_remote import rebuild_on

    address = options.s3_port, options.host, options.port
    return rebuild_on(options.file, options.into, options.overrides, *address, serving=options.serve)


def _fetch(options: argparse.Namespace) -> None:
    from batchyield.versioning.storage import raw_data

    print_result([*raw_data.clean_cache(), f"raw data {raw_data.fetch()}"], options, "\n".join)


def _mirror(options: argparse.Namespace) -> None:
    from batchyield.versioning.storage import content_store, raw_data, raw_folder, remotes

    with remotes.started(Path(), options.s3_port):
        print_progress(f"raw data {raw_data.fetch()}")
        if raw_data.read_pin().is_folder:
            key = raw_folder.mirror(Path(), raw_folder.read_workspace(Path()))
            print_result({"key": key}, options, lambda _: f"mirrored at {key}: intact")
            return
        copy = content_store.mirror(Path(), raw_data.DATA.read_bytes(), raw_data.DATA.as_posix())
    print_result(copy, options, lambda copy: f"mirrored at {copy.key}: {copy.state}")


def _audit(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.audit import audit, render

    result = audit(s3_port=options.s3_port)
    print_result(result, options, render)
    return 0 if result.sound else 1


def _demo(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage.demo_remote import demo

    return demo(options.s3_port, options.host, options.port, serving=not options.no_serve)


def _s3_start(options: argparse.Namespace) -> None:
    from batchyield.versioning.storage.demo_remote import start_s3

    print(start_s3(options.s3_port))


def _s3_stop(_: argparse.Namespace) -> None:
    from batchyield.versioning.storage import embedded_s3, remotes

    print(embedded_s3.stop(remotes.ROOT))


def _s3_status(options: argparse.Namespace) -> int:
    from batchyield.versioning.storage import embedded_s3, remotes

    if not remotes.embedded_remotes(Path()):
        text = f"the DVC remotes are {remotes.location(Path())}; the embedded server is not used"
        print_result({"url": None, "healthy": False}, options, lambda _: text)
        return 1
    server = remotes.embedded_server(options.s3_port)
    healthy = embedded_s3.is_healthy(server)
    text = f"{server.url} {'answers' if healthy else 'does not answer'}"
    print_result({"url": server.url, "healthy": healthy}, options, lambda _: text)
    return 0 if healthy else 1
