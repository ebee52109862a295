"""`batchyield pin`: reproduction of a commit, provenance of bytes, and the recorded environment."""

import argparse
from pathlib import Path

from batchyield.cli.journal import add_journal_option, open_journal
from batchyield.cli.options import Parser, add_json_option, print_progress, print_result
from batchyield.errors import ConfigError, JournalError, RevisionError


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield pin`."""
    pin = program.add_noun("pin", "Pinned hashes: verify by a rebuild, trace to their sources, record the environment.")

    about = "Rebuild a commit elsewhere from raw data alone and check that the outputs match its dvc.lock."
    verify = pin.add("verify", _verify, about, "--rev HEAD~1 --json", json=True, s3=True)
    verify.add_argument("--rev", default="HEAD", help="the commit (%(default)s)")

    about = "Trace bytes to code, params, raw data and environment, with the commands that rebuild them."
    trace = pin.add("trace", _trace, about, "data/model/model.onnx")
    about = (
        "an md5 (6 digits or more), a file, a revision (all its outputs); or a prediction: REQUEST/POSITION or batch id"
    )
    trace.add_argument("target", help=about)
    add_journal_option(trace)
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

    try:
        result = trace(options.target)
    except RevisionError as error:
        return _trace_prediction(options, error)
    print_result(result, options, render)
    return 1 if result.breaks else 0


def _trace_prediction(options: argparse.Namespace, not_bytes: RevisionError) -> int:
    """Trace a journalled prediction, and then its model; `not_bytes` is raised if there is none of that name."""
    from batchyield.versioning.provenance import prediction
    from batchyield.versioning.provenance.trace import render, trace

    try:
        with open_journal(options) as database:
            found = prediction.trace_prediction(options.target, database, Path("data/model/model.onnx"))
    except (ConfigError, JournalError):
        if options.journal:
            raise
        found = None  # there is no journal here
    if found is None:
        raise not_bytes
    try:
        model = trace(found.pin.md5)
    except RevisionError as error:
        reason = str(error)
        print_result({"prediction": found, "model": None}, options, lambda _: f"{prediction.render(found)}\n\n{reason}")
        return 1
    both = {"prediction": found, "model": model}
    print_result(both, options, lambda _: f"{prediction.render(found)}\n\n{render(model)}")
    return 1 if found.differences or model.breaks else 0


def _environment(_: argparse.Namespace) -> None:
    from batchyield.versioning.provenance import environment

    print(environment.write_fingerprint())
