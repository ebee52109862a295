"""The command line: `batchyield COMMAND`."""

import signal
import sys

from batchyield.cli import data, deployment, drift_report, experiments, journal, keys, model, provenance, release, score
from batchyield.cli.options import Commands
from batchyield.errors import BatchyieldError

KINDS = (data, provenance, model, experiments, keys, journal, score, deployment, release, drift_report)


def _commands() -> Commands:
    commands = Commands()
    for kind in KINDS:
        kind.add(commands)
    return commands


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code. A refusal is a message, not a traceback."""
    options = _commands().parser.parse_args(arguments)
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
