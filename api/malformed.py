"""Where a body stops being JSON, said so that whoever wrote it finds the place."""

import re

from batchyield.errors import Violation

STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A JSON string, closed or not, so that no body makes it search twice."""

LONGEST_SEARCHED = 2 * 2**20
"""Bytes; in a larger body the line and column are told, but not the batch and field."""

NO_NUMBER = re.compile(rb"-?(NaN|Infinity|inf|nan)")
KEY = re.compile(rb'"([^"\\]{1,64})"\s*:\s*-?\Z')
BYTE = re.compile(r"byte (\d+)")


def malformed(body: bytes, error: Exception) -> Violation:
    """The place of a syntax error as line and column, with index and field where it stands inside a batch.

    Args:
        body: all of it.
        error: what the decoder raised; its message names the byte, unless the body just ends.
    """
    told = BYTE.search(str(error))
    at = min(int(told[1]), len(body)) if told else len(body)
    line, column = body.count(b"\n", 0, at) + 1, at - body.rfind(b"\n", 0, at)
    where = f"line {line}, column {column}"
    if at <= LONGEST_SEARCHED and (place := _place(body[:at])):
        where = f"{place} ({where})"
    # The decoder points behind the first letter that cannot begin a value.
    if literal := NO_NUMBER.match(body, at) or NO_NUMBER.match(body, max(0, at - 1)):
        return Violation(where, f"{literal[0].decode()} is no JSON; send null for a reading that is missing")
    return Violation(where, str(error))


def _place(before: bytes) -> str:
    plain = STRING.sub(b"", before)
    begun, ended = plain.count(b"{") - 1, plain.count(b"}")
    if begun < 1 or begun == ended:
        return ""
    key = KEY.search(before[-100:])
    field = f".{key[1].decode(errors='replace')}" if key else ""
    return f"$.inputs[{begun - 1}]{field}"
