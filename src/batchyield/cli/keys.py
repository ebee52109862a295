"""`batchyield keys`: the API keys of the service; a running one applies a change within a second."""

import argparse
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batchyield.cli.options import Parser, add_json_option, print_result
from batchyield.errors import ConfigError

VARIABLE = "BATCHYIELD_API_KEYS_FILE"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_commands(program: Parser) -> None:
    """Add the commands of `batchyield keys`."""
    keys = program.add_noun("keys", "API keys of the service, also while it runs: add, list, rotate, revoke.")

    about = "Create a key and print it once; the file keeps its hash."
    add = keys.add("add", _add, about, "line-3 --scope predict --expires 2027-01-01")
    listing = keys.add("list", _list, "List name, hash, scopes and expiry of the keys.", "--json")
    about = "Create a second key for a name and print it once; the old one stays valid."
    rotate = keys.add("rotate", _rotate, about, "line-3 --grace 24h")
    revoke = keys.add("revoke", _revoke, "Revoke the keys of a name.", "line-3")
    for parser in (add, rotate, revoke):
        parser.add_argument("name", help="owner of the key: letters, digits and ._-")
    for parser in (add, listing, rotate, revoke):
        parser.add_argument("--file", type=Path, help=f"file of the keys (the value of {VARIABLE})")
        add_json_option(parser)
    about = "predict, read (model and metrics), admin (all)"
    add.add_argument("--scope", required=True, action="append", metavar="SCOPE,…", help=about)
    add.add_argument("--expires", type=_time, metavar="DATE", help="when it expires, in UTC: 2027-01-01")
    rotate.add_argument("--grace", type=_duration, metavar="TIME", help="validity of the old key: 90s, 30m, 24h, 7d")
    revoke.add_argument("--key", default="", metavar="DIGITS", help="beginning of its hash, as `keys list` shows it")


def _add(options: argparse.Namespace) -> None:
    from batchyield.serving.auth import api_keys

    path = _file(options)
    token = api_keys.add_key(path, options.name, ",".join(options.scope).split(","), options.expires)
    print(f"{options.name}: {path} holds only the hash of this key, so store it now", file=sys.stderr)
    print_result({"name": options.name, "key": token}, options, lambda _: token)


def _list(options: argparse.Namespace) -> None:
    from batchyield.serving.auth import api_keys

    path = _file(options)
    keys = api_keys.read_keys(path) if path.exists() else []
    rows = [
        {"name": key.name, "id": key.id, "scopes": key.scopes, "created": api_keys.format_time(key.created)}
        | {"expires": api_keys.format_time(key.expires) if key.expires else None}
        for key in keys
    ]
    print_result(rows, options, lambda _: api_keys.render_keys(keys))


def _rotate(options: argparse.Namespace) -> None:
    from batchyield.serving.auth import api_keys

    token, older = api_keys.rotate_key(_file(options), options.name, options.grace)
    for key in older:
        until = "until " + (api_keys.format_time(key.expires) if key.expires else "it is revoked")
        revoke = f"`batchyield keys revoke {key.name} --key {key.id}`"
        print(f"{key.name} {key.id}: valid {until}: {revoke}", file=sys.stderr)
    print_result({"name": options.name, "key": token, "older": [key.id for key in older]}, options, lambda _: token)


def _revoke(options: argparse.Namespace) -> None:
    from batchyield.serving.auth import api_keys

    revoked = api_keys.revoke_key(_file(options), options.name, options.key)
    text = "\n".join(f"{key.name} {key.id}: revoked" for key in revoked)
    print_result({"name": options.name, "revoked": [key.id for key in revoked]}, options, lambda _: text)


def _file(options: argparse.Namespace) -> Path:
    file = options.file or os.environ.get(VARIABLE)
    if not file:
        raise ConfigError("there is no file of keys", f"give --file, or set {VARIABLE}")
    return Path(file)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}; expected for example 90s, 30m, 24h or 7d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        expected = "2027-01-01 or 2027-01-01T12:00:00Z"
        raise argparse.ArgumentTypeError(f"invalid time {text!r}; expected for example {expected}") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
