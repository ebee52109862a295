"""`batchyield NOUN VERB`: parses the command line, runs one command and returns its exit code."""

import errno
import io
import os
import signal
import sys

from batchyield.cli import data, deploy, drift, experiments, journal, keys, model, pin, plant, release, review
from batchyield.cli.options import Parser, exempt_loopback_from_proxies, missing_package, misspelt_variables
from batchyield.errors import BatchyieldError

READER_GONE = 141
"""What a shell reports for a program that a closed pipe ended: 128 + SIGPIPE."""

NOUNS = (data, pin, model, experiments, review, release, deploy, journal, keys, drift, plant)

ABOUT = "Rebuild a model of batches bit for bit from pinned data, review and release it, and serve it."
EPILOG = """\
`batchyield NOUN --help` lists the commands of a noun, `batchyield NOUN VERB --help` explains one.

exit codes:
  0    done
  1    done, with a negative finding: the gate fails, an output differs, drift is found, an experiment failed
  2    refused: wrong usage, or an error with its remedy on standard error
  130  interrupted
  141  the reader of standard output went away, as `head` does

Example: batchyield data demo"""


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(prog="batchyield", description=ABOUT, epilog=EPILOG)
    parser.add_argument("--version", action="store_true", help="print the version of the package")
    parser.set_defaults(call=lambda options: _print_version() if options.version else parser.print_help_only(options))
    for noun in NOUNS:
        noun.add_commands(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; an expected error is printed without a traceback."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        if isinstance(stream, io.TextIOWrapper):  # files and pipes get UTF-8 whatever the locale, a terminal its own
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    try:
        try:
            return _run(arguments)
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python flushes again at its exit
        if error.errno == errno.EPIPE:
            return READER_GONE
        print(f"batchyield: standard output cannot be written: {error.strerror}\n  free some space", file=sys.stderr)
        return BatchyieldError.exit_code


def _run(arguments: list[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    exempt_loopback_from_proxies()
    for warning in misspelt_variables(os.environ):
        print(f"batchyield: warning: {warning}", file=sys.stderr)
    # So that a command stops what it started, as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.call(options) or 0)
    except BatchyieldError as error:
        print(f"batchyield: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise
        path = error.filename2 or error.filename  # of a copy, the target
        remedy = "correct the path or its permissions, or make room, then run the same command again"
        print(f"batchyield: {path} cannot be used: {error.strerror}\n  {remedy}", file=sys.stderr)
        return BatchyieldError.exit_code
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        print(f"batchyield: {missing}", file=sys.stderr)
        return missing.exit_code
    except KeyboardInterrupt:
        return 130


def _print_version() -> int:
    from importlib.metadata import version

    print(f"batchyield {version('batchyield')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
