"""What is said about pins: params, reproduction, S3, provenance, environment."""

import argparse
import sys

from batchyield.commands import Commands, show, with_json, with_s3


def add(commands: Commands) -> None:
    """Adds `params`, `verify`, `audit`, `trace` and `environment`."""
    params = commands.add("params", _params, "Compose conf/ into params.yaml, or check that it is.")
    params.add_argument("--check", action="store_true", help="write nothing; fail if params.yaml differs from conf/")
    params.add_argument("overrides", nargs="*", help="Hydra overrides, for example model=ridge")

    verify = commands.add(
        "verify", _verify, "Rebuild a commit elsewhere from raw data alone; is its lock what comes out?"
    )
    verify.add_argument("--rev", default="HEAD", help="the commit (%(default)s)")
    with_json(verify)
    with_s3(verify)

    audit = commands.add("audit", _audit, "Does S3 still hold, byte for byte, everything that this checkout pins?")
    with_json(audit)
    with_s3(audit)

    trace = commands.add(
        "trace", _trace, "Walk bytes back to code, params, raw object and environment, and say how to rebuild."
    )
    trace.add_argument("what", help="an md5 (6 digits or more), a file, or a revision (all its outputs)")
    with_json(trace, "the trace as JSON on standard output, hashes in full")

    commands.add("environment", _environment, "Record this machine's libraries, BLAS and CPU beside the locks.")


def _params(options: argparse.Namespace) -> int:
    from batchyield.pins import params

    print(params.check() if options.check else params.write(overrides=options.overrides))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from batchyield.pins.verify import render, verify

    made = verify(options.rev, s3_port=options.s3_port, progress=lambda line: print(line, file=sys.stderr, flush=True))
    show(made, options, render)
    return 0 if made.same else 1


def _audit(options: argparse.Namespace) -> int:
    from batchyield.pins.audit import audit, render

    made = audit(s3_port=options.s3_port)
    show(made, options, render)
    return 0 if made.sound else 1


def _trace(options: argparse.Namespace) -> int:
    from batchyield.pins.trace import render, trace

    made = trace(options.what)
    show(made, options, render)
    return 1 if made.breaks else 0


def _environment(_: argparse.Namespace) -> int:
    from batchyield.pins import environment

    print(environment.write())
    return 0
