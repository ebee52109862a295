"""`python -m api`: opens the pinned model, then serves it."""

import argparse
import importlib.util
import os
import sys
from typing import NoReturn

from batchyield.errors import BatchyieldError


def main(arguments: list[str] | None = None) -> int:
    """Serves until told to stop; the exit code is 0 after that, and 2 if it could not start."""
    options = _options(arguments)
    if options.model or options.environment or options.version:
        _released(options)
    from api.server import serve  # after --help, which needs no model

    try:
        serve(options.host, options.port, options.workers)
    except BatchyieldError as error:
        print(f"batchyield: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # uvicorn has shut down in order, and passes the signal on
        pass
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m api",
        description="Serve the model that dvc.lock pins. It is opened, compared with its pin and tried on its golden "
        "rows before the port answers.",
        epilog="Everything else is set by environment variables named BATCHYIELD_...: see docs/api.md. Beyond "
        "loopback, a key is needed: BATCHYIELD_API_KEYS_FILE (see `batchyield keys --help`) or BATCHYIELD_API_KEY.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on (default: %(default)s)")
    released = parser.add_argument_group(
        "a released model", "from a checkout with its tags, by `batchyield deploy serve`"
    )
    released.add_argument("--model", metavar="NAME", help="name of the model, for example yield-model")
    which = released.add_mutually_exclusive_group()
    which.add_argument("--environment", help="the version that is in this environment, for example prod")
    which.add_argument("--version", metavar="X.Y.Z", help="this version (the newest)")
    parser.add_argument("--workers", type=_workers, default=1, help="processes that serve (default: %(default)s)")
    return parser.parse_args(arguments)


def _released(options: argparse.Namespace) -> NoReturn:
    """Becomes `batchyield deploy serve`, which finds the release; the service itself knows no registry."""
    if importlib.util.find_spec("dvc") is None:
        print(
            "batchyield: a release is looked up in a checkout, and DVC is not installed here\n"
            "  an image holds one model: start it without --model, --environment or --version, or use a checkout",
            file=sys.stderr,
        )
        raise SystemExit(2)
    named = ("model", "environment", "version", "host", "port", "workers")
    told = [word for name in named if (value := getattr(options, name)) for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "batchyield.cli", "deploy", "serve", *told]
    os.execv(sys.executable, command)  # noqa: S606 - our own fixed command


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535, where 0 takes any free one")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text} is no number of workers: 1 to 64")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
