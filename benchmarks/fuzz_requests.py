"""Requests that a service must answer or refuse: request `number` is made from the seed and its number alone."""

import gzip
import json
import random
from collections.abc import Callable

import zstandard

from api.openapi.examples import BATCH, INPUTS, MISTYPED, sheet

PREDICTIONS, CSV = "/v1/predictions", "/v1/predictions/csv"
SHEET = sheet([BATCH, MISTYPED])
BODIES = {PREDICTIONS: [json.dumps(INPUTS).encode()], CSV: [SHEET.encode("GB18030"), SHEET.encode()]}
TYPES = {
    PREDICTIONS: [b"application/json"],
    CSV: [b"text/csv", b"application/csv", b"multipart/form-data; boundary=x", b"multipart/form-data"],
}
CELLS = [
    None, True, False, 0, -1, 1e308, -1e308, 10**400, 0.1, "", "24:00", "21:00-21:30", "1" * 70, "\x00", "\ud800", "；",
    "𝟙𝟚:𝟛𝟘", [], {}, [[]], {"A1": 1}, "NaN", "-0", "1e999", "id", "样本id", "9" * 400,
]  # fmt: skip
LITERALS = [
    b"NaN",
    b"Infinity",
    b"-",
    b"1e999999",
    b"1" * 5000,
    b'"\\ud800"',
    b'"\xff"',
    b"{",
    b"]",
    b",",
    b"\x00",
    b"//",
]
HEADS = [
    b"X-Request-ID: \xff\xfe", b"X-Request-ID: " + b"a" * 65, b"Accept: application/json", b"Accept: \xff",
    b"Accept-Encoding: gzip;q=x, *", b"Accept-Encoding: zstd", b"Authorization: Bearer", b"Authorization: \x80",
    b"Content-Type: application/json", b"Content-Type: ;;;", b"Content-Encoding: gzip", b"Content-Encoding: br",
    b"Content-Encoding: zstd", b"Expect: nothing", b"Cookie: " + b"a" * 4000, b"If-None-Match: *", b": nameless",
]  # fmt: skip


def _value(dice: random.Random) -> bytes:
    """JSON of the right form, with cells of any."""
    batches = [
        {
            dice.choice(["A1", "A5", "A20", "B9", "B14", "id", "C1", "", "A1 "])
            if dice.random() < 0.9
            else "k" * 300: dice.choice(CELLS) if dice.random() < 0.8 else dice.uniform(-1e7, 1e7)
            for _ in range(dice.randrange(6))
        }
        for _ in range(dice.randrange(4))
    ]
    whole = dice.choice([{"inputs": batches}, {"inputs": batches, "x": 1}, batches, {"inputs": batches[:1] * 40}])
    return json.dumps(whole, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")


def _mutated(body: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 4)):
        at, cut = dice.randrange(len(body) + 1), dice.choice([0, 0, 1, 4, 40])
        into = dice.choice([b"", dice.randbytes(dice.randrange(12)), dice.choice(LITERALS), body[at : at + 60]])
        body = body[:at] + into + body[at + cut :]
    return body


def _deep(dice: random.Random) -> bytes:
    opening, count = dice.choice([b"[", b'{"inputs":', b'{"inputs":[{"A1":', b'"', b"--x\r\n"]), dice.randrange(3000)
    return opening * count + dice.choice([b"", b"]" * count, b"}" * count])


def _form(body: bytes, dice: random.Random) -> bytes:
    name = dice.choice([b'name="file"; filename="a.csv"', b'name="file"', b"filename*=UTF-8''%ff", b""])
    part = b"--x\r\nContent-Disposition: form-data; " + name + b"\r\n\r\n" + body + b"\r\n"
    return part * dice.choice([1, 1, 2, 9]) + dice.choice([b"--x--\r\n", b"--x--", b"", b"--x\r\n"])


MAKERS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "any bytes": lambda _, dice: dice.randbytes(dice.choice([0, 1, 10, 300])),
    "any cells": lambda _, dice: _value(dice),
    "mutated": _mutated,
    "nested": lambda _, dice: _deep(dice),
    "form": lambda body, dice: _form(_mutated(body, dice), dice),
    "another encoding": lambda body, dice: body.decode("GB18030", "replace").encode(
        dice.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"])
    ),
}


def made(seed: int, number: int) -> tuple[str, bytes]:
    """A request by its number: how it was made, and its bytes."""
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 - repeatable on purpose
    path = dice.choice([PREDICTIONS, CSV])
    how = dice.choice(list(MAKERS))
    body = MAKERS[how](dice.choice(BODIES[path]), dice)
    head = [b"Host: x"]
    kind = b"multipart/form-data; boundary=x" if how == "form" and path == CSV else dice.choice(TYPES[path])
    if dice.random() < 0.97:
        head.append(b"Content-Type: " + kind)
    if dice.random() < 0.15:
        coding = dice.choice(["gzip", "zstd"])
        body = gzip.compress(body, 1) if coding == "gzip" else zstandard.compress(body)
        body = _mutated(body, dice) if dice.random() < 0.7 else body
        head.append(b"Content-Encoding: " + coding.encode())
        how = f"{how}, {coding}"
    head += dice.sample(HEADS, dice.choice([0, 0, 0, 1, 3]))
    query = dice.choice(["", "", "", "?explain=true", "?explain=", "?%ff=%00&explain=maybe"])
    method = dice.choices(["POST", "GET", "PUT"], [97, 2, 1])[0]
    head.append(b"Content-Length: %d" % len(body))
    line = f"{method} {path}{query} HTTP/1.1\r\n".encode()
    return how, line + b"\r\n".join(head) + b"\r\n\r\n" + body
