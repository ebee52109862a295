"""Parser of the command line, options that several commands share, and the output of results.

The modules of this package import what a command needs only when it runs. So `--help` is fast, and an image without
DVC still runs every command that does without it.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from batchyield.errors import MissingToolError

PREFIX = "BATCHYIELD_"
VARIABLES = (
    *("API_KEY", "API_KEYS_FILE", "BUCKET", "ENGINE", "IMAGE", "JOURNAL", "JOURNAL_URL_FILE", "LOCK", "MERMAID"),
    *("MODELS", "MODEL_DIR", "MODEL_VERSION", "REAL_DATA", "REVISION", "URL"),
)
"""Environment variables that commands, recipes and tests read, without the prefix."""

EXTRAS = {
    "client": {"httpx", "tenacity"},
    "report": {"altair", "jinja2", "vl_convert"},
    "scale": {"dask", "distributed", "fsspec", "pyarrow", "s3fs"},
    "search": {"optuna"},
    "serve": {"alembic", "litestar", "psycopg", "sqlalchemy", "structlog", "uvicorn", "zstandard"},
}
"""Import names of the packages of each extra of pyproject.toml; any other package is of `train`."""


class Parser(argparse.ArgumentParser):
    """Parser of the program, a noun or a command; suggests the name that a mistyped one is close to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self.set_defaults(call=self.print_help_only, parser=self)
        self.commands: Any = None  # the action that holds the parsers of its nouns or commands

    def print_help_only(self, _: argparse.Namespace) -> int:
        """Print the help, for a noun without a verb; return the exit code of wrong usage."""
        self.print_help()
        return 2

    def add_noun(self, name: str, about: str) -> "Parser":
        """Return the parser of a new noun; the noun alone prints its help."""
        self.commands = self.commands or self.add_subparsers(title="commands", metavar="COMMAND")
        parser: Parser = self.commands.add_parser(name, help=about, description=about)
        return parser

    def add(
        self,
        name: str,
        call: Callable[[argparse.Namespace], int | None],
        about: str,
        example: str = "",
        **shared: bool,
    ) -> "Parser":
        """Return the parser of a new command.

        Args:
            call: runs the command and returns its exit code; None is 0.
            about, example: one sentence for its help, and the arguments of an example.
            shared: the shared options that it has; keys of `SHARED_OPTIONS`.
        """
        parser = self.add_noun(name, about)
        parser.epilog = f"Example: {parser.prog} {example}".rstrip()
        parser.set_defaults(call=call)
        for option in shared:
            SHARED_OPTIONS[option](parser)
        return parser

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the parsed command line; the parser of the command reports what it does not know."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and the message, with a suggestion if a command or an option was mistyped."""
        if choice := re.search(r"invalid choice: '([^']*)'", message):
            typed, known = choice[1], list(self.commands.choices) if self.commands else []
        else:
            typed = message.removeprefix("unrecognized arguments: ").split("=")[0]
            known = re.findall(r"--[a-z0-9-]+", self.format_help())
        if close := difflib.get_close_matches(typed, known, n=1):
            message += f"; did you mean {close[0]!r}?"
        super().error(message)


def missing_package(error: ModuleNotFoundError) -> MissingToolError:
    """Return the error that names the extra of a missing package; an error of our own modules is raised again."""
    name = (error.name or "").partition(".")[0]
    if name in ("", "api", "batchyield"):
        raise error
    extra = next((extra for extra, packages in EXTRAS.items() if name in packages), "train")
    if "BATCHYIELD_IMAGE" in os.environ:
        remedy = "run the command in the image `tools`: docker compose run --rm tools NOUN VERB; see docs/compose.md"
        return MissingToolError(f"this command needs {error.name}, which is not in this image", remedy)
    return MissingToolError(f"{error.name} is not installed", f"install the extra: pip install 'batchyield[{extra}]'")


def misspelt_variables(environment: Iterable[str]) -> list[str]:
    """Return a warning for each environment variable whose name is close to one that commands read.

    Those of the service are not known here, and none of them is that close.
    """
    near = {
        name: difflib.get_close_matches(name.removeprefix(PREFIX), VARIABLES, 1, 0.8)
        for name in environment
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in VARIABLES
    }
    return [f"{name} is not read; did you mean {PREFIX}{found[0]}?" for name, found in near.items() if found]


def exempt_loopback_from_proxies() -> None:
    """Add this machine to NO_PROXY, for this process and all that it starts: no proxy reaches its own servers.

    The usual value `localhost` does not match 127.0.0.1, and botocore knows no address ranges.
    """
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if given != "*":
        missing = [host for host in ("127.0.0.1", "localhost", "::1") if host not in given.split(",")]
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [given, *missing]))


def output_file(text: str) -> Path:
    """Return the path of a file to write; a folder, a pipe or a device is refused, since the file replaces it."""
    path = Path(text)
    if os.path.lexists(path) and not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is no regular file; standard output goes into pipes")
    return path


def output_file_or_folder(text: str) -> Path | str:
    """Return the path of a file to write, or a URL, or a folder as text with a slash at its end."""
    if "://" in text:
        return text if "/" in text.partition("://")[2] else f"{text}/"
    if text.endswith("/"):
        return text
    return f"{text}/" if Path(text).is_dir() else output_file(text)


def add_json_option(parser: argparse.ArgumentParser, about: str = "print the result as JSON") -> None:
    """Add `--json`, for a result that a program reads."""
    parser.add_argument("--json", action="store_true", help=about)


def _add_s3_option(parser: argparse.ArgumentParser) -> None:
    about = "port of the embedded S3 server (the one in .dvc/config.local, at first 9500)"
    parser.add_argument("--s3-port", type=_port, metavar="PORT", help=about)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to {2**16 - 1}")
    return int(text)


def _add_service_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address of the service (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port of the service (%(default)s)")


SHARED_OPTIONS = {"json": add_json_option, "s3": _add_s3_option, "service": _add_service_options}
"""`--json`; `--s3-port` if the command may start the embedded S3 server; `--host` and `--port` if it serves."""


def add_base_options(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add `--base` and `--labels`, for commands that compare a change with its base."""
    parser.add_argument("--base", metavar="REV", required=required, help="compare with HEAD's merge base with it")
    about = "labels of the pull request, separated by commas ($PR_LABELS); gate-override lets a failing gate pass"
    parser.add_argument("--labels", default=os.environ.get("PR_LABELS", ""), help=about)


def print_result(value: Any, options: argparse.Namespace, render: Callable[[Any], str]) -> None:
    """Print a result as JSON if `--json` is given, else as the text that `render` returns."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode() if options.json else render(value))


def print_progress(line: str) -> None:
    """Print a line of progress on standard error at once."""
    print(line, file=sys.stderr, flush=True)
