"""The API keys of the service: made, listed, replaced and taken back, while it runs."""

import argparse
import os
import re
import sys
from pathlib import Path

from batchyield.commands import Call, Commands, show, with_json
from batchyield.errors import SetupError

VARIABLE = "BATCHYIELD_API_KEYS_FILE"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add(commands: Commands) -> None:
    """Adds `key` with `add`, `list`, `rotate`, `revoke` and `hash`."""
    about = "Make, list, replace and take back the service's API keys; a running service notices within a second."
    actions = commands.add("key", lambda _: 2, about).add_subparsers(required=True, metavar="ACTION")

    made = _action(actions, "add", _add, "Make a key and print it, once; the file gets its hash.")
    made.add_argument("name", help="whose it is: letters, digits and ._-")
    made.add_argument(
        "--scope", required=True, metavar="SCOPE,…", help="predict (send batches), read (model, metrics), admin (all)"
    )
    made.add_argument("--expires", type=_moment, metavar="DATE", help="when it ends, in UTC: 2027-01-01")

    with_json(_action(actions, "list", _list, "Names, scopes and ends of the keys."), "the keys as JSON")

    rotated = _action(actions, "rotate", _rotate, "Make a second key for a name and print it; the old one still works.")
    rotated.add_argument("name")
    rotated.add_argument("--grace", type=_duration, metavar="TIME", help="how long it still works: 90s, 30m, 24h, 7d")

    revoked = _action(actions, "revoke", _revoke, "Take the keys of a name back.")
    revoked.add_argument("name")
    revoked.add_argument("--key", default="", metavar="DIGITS", help="only the one whose hash begins so (`key list`)")

    _action(
        actions, "hash", _hash, "Replace keys that stand in the file in plain by their hashes; they work as before."
    )


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, call: Call, about: str
) -> argparse.ArgumentParser:
    added = actions.add_parser(name, help=about, description=about)
    added.add_argument("--file", type=Path, help=f"file of the keys (what {VARIABLE} says)")
    added.set_defaults(call=call)
    return added


def _add(options: argparse.Namespace) -> int:
    from batchyield import keyfile

    path = _file(options)
    token = keyfile.add(path, options.name, options.scope, options.expires)
    print(f"{options.name}: this is the key; {path} holds only its hash, so keep it now", file=sys.stderr)
    print(token)
    return 0


def _list(options: argparse.Namespace) -> int:
    from batchyield import keyfile, keys

    found = keyfile.keys_in(_file(options))
    told = [
        {
            "name": key.name,
            "id": key.id,
            "scopes": sorted(key.scopes),
            "expires": None if key.expires is None else keys.moment(key.expires),
        }
        for key in found
    ]
    show(told, options, lambda _: keys.render(found))
    return 0


def _rotate(options: argparse.Namespace) -> int:
    from batchyield import keyfile, keys

    path = _file(options)
    token, older = keyfile.rotate(path, options.name, options.grace)
    for key in older:
        until = "until " + (keys.moment(key.expires) if key.expires else "it is revoked")
        print(f"{key.name} {key.id}: works {until}: `batchyield key revoke {key.name} --key {key.id}`", file=sys.stderr)
    print(token)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    from batchyield import keyfile

    for key in keyfile.revoke(_file(options), options.name, options.key):
        print(f"{key.name} {key.id}: revoked")
    return 0


def _hash(options: argparse.Namespace) -> int:
    from batchyield import keyfile, keys

    print(keys.render(keyfile.hash_plain(_file(options))))
    return 0


def _file(options: argparse.Namespace) -> Path:
    said = options.file or os.environ.get(VARIABLE)
    if not said:
        raise SetupError("it is not said which file holds the keys", f"give --file, or set {VARIABLE}")
    return Path(said)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no time: 90s, 30m, 24h or 7d")
    return float(found[1]) * UNITS[found[2]]


def _moment(text: str) -> float:
    from batchyield.keys import seconds_of

    try:
        return seconds_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no date: 2027-01-01, or 2027-01-01T12:00:00Z") from None
