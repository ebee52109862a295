"""The commands of `batchyield`, a module for each kind; each command is a thin call into the library.

What a command needs is imported when it is called: `--help` answers at once, and a service's image that lacks DVC can
still run those commands that do without.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

Call = Callable[[argparse.Namespace], int]


class Commands:
    """The command line under construction; a kind's module adds its commands to it."""

    def __init__(self) -> None:
        self.parser = argparse.ArgumentParser(
            prog="batchyield", description="A yield model rebuilt bit for bit from pinned data."
        )
        self._added = self.parser.add_subparsers(required=True, metavar="COMMAND")

    def add(self, name: str, call: Call, about: str) -> argparse.ArgumentParser:
        """A command; `call` gets what was given and returns the exit code."""
        added = self._added.add_parser(name, help=about, description=about)
        added.set_defaults(call=call)
        return added


def with_json(added: argparse.ArgumentParser, about: str = "the findings as JSON on standard output") -> None:
    """`--json`, for a machine that reads."""
    added.add_argument("--json", action="store_true", help=about)


def with_s3(added: argparse.ArgumentParser) -> None:
    """`--s3-port`, for what starts the embedded server where it is needed."""
    about = "port of the embedded S3 server (the one in .dvc/config.local, at first 9500)"
    added.add_argument("--s3-port", type=int, metavar="PORT", help=about)


def with_service(added: argparse.ArgumentParser) -> None:
    """`--host` and `--port`, for what serves."""
    added.add_argument("--host", default="127.0.0.1", help="address of the service (%(default)s)")
    added.add_argument("--port", type=int, default=8000, help="port of the service (%(default)s)")


def with_base(added: argparse.ArgumentParser, **options: Any) -> None:
    """`--base` and `--labels`, for what compares."""
    added.add_argument(
        "--base", metavar="REV", help="compare with the commit at which HEAD left this revision", **options
    )
    added.add_argument(
        "--labels",
        default=os.environ.get("PR_LABELS", ""),
        help="labels of the pull request, with commas between them (those in $PR_LABELS); gate-override lets a "
        "failing gate through and says so",
    )


def show(found: Any, options: argparse.Namespace, render: Callable[[Any], str]) -> None:
    """Prints findings: as JSON where `--json` is given, else as `render` says them to people."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(found)).decode() if options.json else render(found))
