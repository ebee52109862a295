"""The commands of `batchyield`, each a thin call into the library."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from batchyield.errors import BatchyieldError
from batchyield.simulate import DEFAULT_ROWS, DEFAULT_SEED


def _simulate(options: argparse.Namespace) -> int:
    from batchyield.files import write_atomic
    from batchyield.simulate import simulate

    data = simulate(rows=options.rows, seed=options.seed).csv()
    if options.out is None:
        sys.stdout.buffer.write(data)
    else:
        write_atomic(options.out, data)
        print(f"wrote {options.rows} batches to {options.out}")
    return 0


def _s3(options: argparse.Namespace) -> int:
    from batchyield import s3
    from batchyield.pins import remotes

    server = remotes.embedded(options.s3_port)
    if options.action == "status":
        up = s3.healthy(server)
        print(f"{server.url} {'answers' if up else 'does not answer'}")
        return 0 if up else 1
    print(s3.start(server) if options.action == "start" else s3.stop(server))
    return 0


def _params(options: argparse.Namespace) -> int:
    from batchyield.pins import params

    print(params.check() if options.check else params.write(overrides=options.overrides))
    return 0


def _fetch(_: argparse.Namespace) -> int:
    from batchyield.pins import raw

    print(f"raw data {raw.fetch()}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    import msgspec

    from batchyield.pins.verify import render, verify

    made = verify(options.rev, s3_port=options.s3_port, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print(msgspec.json.format(msgspec.json.encode(made)).decode() if options.json else render(made))
    return 0 if made.same else 1


def _audit(options: argparse.Namespace) -> int:
    import msgspec

    from batchyield.pins.audit import audit, render

    made = audit(s3_port=options.s3_port)
    print(msgspec.json.format(msgspec.json.encode(made)).decode() if options.json else render(made))
    return 0 if made.sound else 1


def _trace(options: argparse.Namespace) -> int:
    import msgspec

    from batchyield.pins.trace import render, trace

    made = trace(options.what)
    print(msgspec.json.format(msgspec.json.encode(made)).decode() if options.json else render(made))
    return 1 if made.breaks else 0


def _gate(options: argparse.Namespace) -> int:
    from batchyield.gate import judge
    from batchyield.params import load

    verdicts = judge(load(options.params).gate, options.metrics)
    print("\n".join(map(str, verdicts)))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _tune(options: argparse.Namespace) -> int:
    from batchyield.determinism import pin

    pin()  # before NumPy loads
    from batchyield import tune

    return tune.run(options.space, options.write, options.force)


def _environment(_: argparse.Namespace) -> int:
    from batchyield.pins import environment

    print(environment.write())
    return 0


def _demo(options: argparse.Namespace) -> int:
    from batchyield.pins.demo import demo

    return demo(options.s3_port, options.host, options.port, serving=not options.no_serve)


def _rebuild_on(options: argparse.Namespace) -> int:
    from batchyield.pins.demo import rebuild_on

    return rebuild_on(
        *(options.data, options.into, options.overrides, options.s3_port, options.host, options.port),
        serving=options.serve,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batchyield", description="A yield model rebuilt bit for bit from pinned data."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(call=call)
        return added

    def with_s3(added: argparse.ArgumentParser) -> None:
        about = "port of the embedded S3 server (the one in .dvc/config.local, at first 9500)"
        added.add_argument("--s3-port", type=int, metavar="PORT", help=about)

    def with_service(added: argparse.ArgumentParser) -> None:
        added.add_argument("--host", default="127.0.0.1", help="address of the service (%(default)s)")
        added.add_argument("--port", type=int, default=8000, help="port of the service (%(default)s)")

    simulate = command("simulate", _simulate, "Write the sample plant's batches as the plant writes them.")
    simulate.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="number of batches (%(default)s)")
    simulate.add_argument("--seed", type=int, default=DEFAULT_SEED, help="same seed, same bytes (%(default)s)")
    simulate.add_argument("--out", type=Path, help="file to write; standard output where it is not given")

    s3 = command("s3", _s3, "Start, stop or look at the embedded S3 server.")
    s3.add_argument("action", choices=["start", "stop", "status"])
    with_s3(s3)

    params = command("params", _params, "Compose conf/ into params.yaml, or check that it is.")
    params.add_argument("--check", action="store_true", help="write nothing; fail if params.yaml differs from conf/")
    params.add_argument("overrides", nargs="*", help="Hydra overrides, for example model=ridge")

    command("fetch", _fetch, "Bring the pinned raw data into the workspace.")

    verify = command("verify", _verify, "Rebuild a commit elsewhere from raw data alone; is its lock what comes out?")
    verify.add_argument("--rev", default="HEAD", help="the commit (%(default)s)")
    verify.add_argument("--json", action="store_true", help="the findings as JSON on standard output")
    with_s3(verify)

    audit = command("audit", _audit, "Does S3 still hold, byte for byte, everything that this checkout pins?")
    audit.add_argument("--json", action="store_true", help="the findings as JSON on standard output")
    with_s3(audit)

    trace = command(
        "trace", _trace, "Walk bytes back to code, params, raw object and environment, and say how to rebuild."
    )
    trace.add_argument("what", help="an md5 (6 digits or more), a file, or a revision (all its outputs)")
    trace.add_argument("--json", action="store_true", help="the trace as JSON on standard output, hashes in full")

    gate = command("gate", _gate, "Judge the measured figures by the bounds in the params.")
    gate.add_argument("--params", type=Path, default=Path("params.yaml"), help="where the bounds stand (%(default)s)")
    gate.add_argument("--metrics", type=Path, default=Path("data/metrics"), help="the figures (%(default)s)")

    tune = command("tune", _tune, "Search a space of model settings by successive halving on the training batches.")
    tune.add_argument("space", type=Path, nargs="?", default=Path("search/line_trees.yaml"), help="(%(default)s)")
    tune.add_argument("--write", metavar="NAME", help="write the winner as conf/model/NAME.yaml")
    tune.add_argument("--force", action="store_true", help="overwrite a choice of that name")

    command("environment", _environment, "Record this machine's libraries, BLAS and CPU beside the locks.")

    demo = command("demo", _demo, "Rebuild everything, compare it with the committed lock, and serve it.")
    demo.add_argument("--no-serve", action="store_true", help="end after the comparison")
    with_s3(demo)
    with_service(demo)

    rebuild = command("rebuild-on", _rebuild_on, "Rebuild on another raw file in a workspace of its own.")
    rebuild.add_argument("data", type=Path, help="the plant's CSV with yields")
    rebuild.add_argument("--into", type=Path, default=Path(".cache/rebuild"), help="the workspace (%(default)s)")
    rebuild.add_argument("overrides", nargs="*", help="Hydra overrides, for example model=ridge evaluation=quick")
    rebuild.add_argument("--serve", action="store_true", help="serve the result until Ctrl-C")
    with_s3(rebuild)
    with_service(rebuild)
    return parser


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code. A refusal is a message, not a traceback."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # what a command started is stopped with it, however it is told to end
    try:
        return int(options.call(options))
    except BatchyieldError as error:
        print(f"batchyield: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
