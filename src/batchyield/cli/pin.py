"""`batchyield pin`: reproduction of a commit, provenance of bytes, and the recorded environment."""

import argparse

from batchyield.cli.options import Parser, add_json_option, print_progress, print_result


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield pin`."""
    pin = program.add_noun("pin", "Pinned hashes: verify by a rebuild, trace to their sources, record the environment.")

    about = "Rebuild a commit elsewhere from raw data alone and check that the outputs match its dvc.lock."
    verify = pin.add("verify", _verify, about, "--rev HEAD~1 --json", json=True, s3=True)
    verify.add_argument("--rev", default="HEAD", help="the commit (%(default)s)")

    about = "Trace bytes to code, params, raw data and environment, with the commands that rebuild them."
    trace = pin.add("trace", _trace, about, "data/model/model.onnx")
    trace.add_argument("target", help="an md5 (6 digits or more), a file, or a revision (all its outputs)")
    add_json_option(trace, "print the trace as JSON, hashes in full")

    about = "Record the libraries, BLAS and CPU of this machine in requirements/environment.json."
    pin.add("environment", _environment, about)


def _verify(options: argparse.Namespace) -> int:
    from batchyield.versioning.provenance.verify import render, verify

    result = verify(options.rev, s3_port=options.s3_port, progress=print_progress)
    print_result(result, options, render)
    if options.json and not result.same:
        print_progress(render(result))  # standard output usually goes to a file
    return 0 if result.same else 1


def _trace(options: argparse.Namespace) -> int:
    from batchyield.versioning.provenance.trace import render, trace

    result = trace(options.target)
    print_result(result, options, render)
    return 1 if result.breaks else 0


def _environment(_: argparse.Namespace) -> None:
    from batchyield.versioning.provenance import environment

    print(environment.write_fingerprint())
