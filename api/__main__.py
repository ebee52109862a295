"""`python -m api`: open the pinned model and serve it."""

import argparse
import importlib.util
import os
import signal
import sys
from typing import NoReturn

from batchyield.errors import BatchyieldError


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal ends it; return the exit code: 0 after a shutdown, 2 if the service could not start."""
    # For a container's first process the kernel ignores a signal without a handler, so that a stop during the start
    # would end with SIGKILL. uvicorn replaces this one, shuts down, and raises the signal again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = _options(arguments)
    if options.model or options.environment or options.version:
        _serve_release(options)
    from api.server import serve  # after --help, which needs no model

    try:
        serve(options.host, options.port, options.workers)
    except BatchyieldError as error:
        print(f"batchyield: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # raised by uvicorn after a graceful shutdown
        pass
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m api",
        description="Serve the model that dvc.lock pins. Its hashes and golden rows are checked before the port opens.",
        epilog="All other settings are environment variables named BATCHYIELD_...: see docs/api.md. Beyond loopback "
        "an API key is needed: BATCHYIELD_API_KEYS_FILE (see `batchyield keys --help`) or BATCHYIELD_API_KEY.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on (default: %(default)s)")
    released = parser.add_argument_group("a released model", "needs a checkout with its git tags")
    released.add_argument("--model", metavar="NAME", help="name of the model, for example yield-model")
    which = released.add_mutually_exclusive_group()
    which.add_argument("--environment", help="the version in this environment, for example prod")
    which.add_argument("--version", metavar="X.Y.Z", help="this version (default: the newest)")
    parser.add_argument("--workers", type=_workers, default=1, help="number of server processes (default: %(default)s)")
    return parser.parse_args(arguments)


def _serve_release(options: argparse.Namespace) -> NoReturn:
    """Replace this process by `batchyield deploy serve`, which resolves the release from git tags."""
    if importlib.util.find_spec("dvc") is None:
        print(
            "batchyield: --model, --environment and --version need DVC, which is not installed here\n"
            "  an image holds one model: start it without these options, or use a checkout",
            file=sys.stderr,
        )
        raise SystemExit(2)
    names = ("model", "environment", "version", "host", "port", "workers")
    arguments = [
        word for name in names if (value := getattr(options, name)) is not None for word in (f"--{name}", str(value))
    ]
    command = [sys.executable, "-m", "batchyield.cli", "deploy", "serve", *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - our own fixed command


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"invalid port {text}; expected 0 to 65535, where 0 takes any free one")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"invalid number of workers {text}; expected 1 to 64")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
