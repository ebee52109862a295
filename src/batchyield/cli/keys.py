"""`batchyield key`: make, list, rotate and revoke the API keys of the service while it runs."""

import argparse
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batchyield.cli.options import Commands, show, with_json
from batchyield.errors import SetupError

VARIABLE = "BATCHYIELD_API_KEYS_FILE"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add(commands: Commands) -> None:
    """Add `key` with `add`, `list`, `rotate` and `revoke`."""
    key = commands.add(
        "key", lambda _: 2, "Make, list, rotate and revoke API keys; a running service notices in a second."
    )
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument("--file", type=Path, help=f"file of the keys (the value of {VARIABLE})")
    actions = key.add_subparsers(required=True, metavar="ACTION")
    added, listed, rotated, revoked = (
        actions.add_parser(call.__name__[1:], parents=[file], help=call.__doc__, description=call.__doc__)
        for call in (_add, _list, _rotate, _revoke)
    )
    for parser, call in ((added, _add), (listed, _list), (rotated, _rotate), (revoked, _revoke)):
        parser.set_defaults(call=call)
    for parser in (added, rotated, revoked):
        parser.add_argument("name", help="owner of the key: letters, digits and ._-")
    added.add_argument(
        "--scope", required=True, metavar="SCOPE,…", help="predict (send batches), read (model, metrics), admin (all)"
    )
    added.add_argument("--expires", type=_time, metavar="DATE", help="when it expires, in UTC: 2027-01-01")
    with_json(listed, "the keys as JSON")
    rotated.add_argument("--grace", type=_duration, metavar="TIME", help="how long it stays valid: 90s, 30m, 24h, 7d")
    revoked.add_argument("--key", default="", metavar="DIGITS", help="only the one whose hash begins so (`key list`)")


def _add(options: argparse.Namespace) -> int:
    """Make a key and print it, once; the file gets its hash."""
    from batchyield.serving.auth import api_keys

    path = _file(options)
    token = api_keys.add_key(path, options.name, options.scope.split(","), options.expires)
    print(f"{options.name}: this is the key; {path} holds only its hash, so keep it now", file=sys.stderr)
    print(token)
    return 0


def _list(options: argparse.Namespace) -> int:
    """List name, hash, scopes and expiry of the keys."""
    from batchyield.serving.auth import api_keys

    path = _file(options)
    found = api_keys.read_keys(path) if path.exists() else []
    listed = [
        {
            "name": key.name,
            "id": key.id,
            "scopes": key.scopes,
            "created": api_keys.format_time(key.created),
            "expires": api_keys.format_time(key.expires) if key.expires else None,
        }
        for key in found
    ]
    show(listed, options, lambda _: api_keys.render_keys(found))
    return 0


def _rotate(options: argparse.Namespace) -> int:
    """Make a second key for a name and print it; the old one stays valid."""
    from batchyield.serving.auth import api_keys

    token, older = api_keys.rotate_key(_file(options), options.name, options.grace)
    for key in older:
        until = "until " + (api_keys.format_time(key.expires) if key.expires else "it is revoked")
        print(f"{key.name} {key.id}: valid {until}: `batchyield key revoke {key.name} --key {key.id}`", file=sys.stderr)
    print(token)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    """Revoke the keys of a name."""
    from batchyield.serving.auth import api_keys

    for key in api_keys.revoke_key(_file(options), options.name, options.key):
        print(f"{key.name} {key.id}: revoked")
    return 0


def _file(options: argparse.Namespace) -> Path:
    given = options.file or os.environ.get(VARIABLE)
    if not given:
        raise SetupError("no file of keys is named", f"give --file, or set {VARIABLE}")
    return Path(given)


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}; expected for example 90s, 30m, 24h or 7d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"invalid time {text!r}; expected for example 2027-01-01 or 2027-01-01T12:00:00Z"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
