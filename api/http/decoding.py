"""Decode request bodies into batches, and say where a body that cannot be decoded is wrong."""

import io
import re
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from multipart import MultipartError, MultipartParser, parse_options_header  # type: ignore[import-untyped]

from api.problems import INVALID, MALFORMED, MAX_VIOLATIONS, RequestError, summary
from batchyield.errors import Violation
from batchyield.plant.batch import Batch
from batchyield.plant.csv_reader import Sheet, read_sheet
from batchyield.serving.chunking import MAX_BATCHES

MOST_LINES = 2 * MAX_BATCHES
"""Of a file: room for blank lines, and for breaks inside cells."""

MOST_COLUMNS = 1_000

STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A JSON string, closed or not, so that no body makes it search twice."""

LONGEST_SEARCHED = 2 * 2**20
"""Bytes; in a larger body the line and column are told, but not the batch and field."""

NO_NUMBER = re.compile(rb"-?(NaN|Infinity|inf|nan)")
KEY = re.compile(rb'"([^"\\]{1,64})"\s*:\s*-?\Z')
BYTE = re.compile(r"byte (\d+)")


class PredictionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Batches to predict."""

    inputs: Annotated[list[Batch], Meta(min_length=1, max_length=MAX_BATCHES, description="the batches, in any order")]


class _Unread(msgspec.Struct, forbid_unknown_fields=True):
    inputs: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_BATCHES)]


_request = msgspec.json.Decoder(PredictionRequest)
_unread = msgspec.json.Decoder(_Unread)
_batch = msgspec.json.Decoder(Batch)
BRACE = ord("{")
UNKNOWN_FIELD = "Object contains unknown field `"


def decode_batches(body: bytes) -> list[Batch]:
    """The inputs of `{"inputs": [...]}`.

    Raises:
        RequestError: it is not JSON (400), or not of this form (422), with the index and the field of each violation.
    """
    if _braces(body) > MAX_BATCHES + 1 and _braces(STRING.sub(b"", body)) > MAX_BATCHES + 1:
        # The decoder looks at the length at the end only, by when millions of empty batches fill the memory.
        violation = Violation("$.inputs", f"Expected `array` of length <= {MAX_BATCHES}")
        raise RequestError(INVALID, str(violation), violation)
    try:
        return _request.decode(body).inputs
    except msgspec.ValidationError as error:
        violations = _violations(body) or (_violation(error, "$"),)
    except (ValueError, RecursionError) as error:
        violation = malformed(body, error)
        raise RequestError(MALFORMED, f"the body is not JSON: {violation}", violation) from None
    raise RequestError(INVALID, summary(violations), *violations)


def _braces(body: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == BRACE))  # in a quarter of the time of `count`


def _violations(body: bytes) -> tuple[Violation, ...]:
    """The first violation of each batch that has one; none if the fault lies outside the batches."""
    found: list[Violation] = []
    if len(body) > LONGEST_SEARCHED:
        return ()
    try:
        for index, raw in enumerate(_unread.decode(body).inputs):
            try:
                _batch.decode(raw)
            except msgspec.ValidationError as error:
                found.append(_violation(error, f"$.inputs[{index}]"))
                if len(found) == MAX_VIOLATIONS:
                    break
    except (ValueError, RecursionError):
        pass  # what comes before it is worth telling; what is wrong with the rest, the first decoding has said
    return tuple(found)


def _violation(error: msgspec.ValidationError, root: str) -> Violation:
    problem, _, path = str(error).rpartition(" - at `$")
    if not problem or (root != "$" and str(error).startswith(UNKNOWN_FIELD)):
        # A batch has no objects inside, so what looks like a path is part of a name that the caller chose.
        problem, path = str(error), ""
    path = root + path.rstrip("`")
    if problem.startswith(UNKNOWN_FIELD):
        name = problem.removeprefix(UNKNOWN_FIELD).removesuffix("`")
        return Violation(f"{path}.{name}", "unknown field; see GET /schema for those there are")
    return Violation(path, problem)


def decode_upload(body: bytes, content_type: str) -> Sheet:
    """The plant's file, as the body itself or as the one file of a form.

    Raises:
        RequestError: the form cannot be read or has no file, or the file has too many batches.
        InputError: the file cannot be read as batches.
    """
    kind, options = parse_options_header(content_type)
    file = _file_of_form(body, options.get("boundary", "")) if kind == "multipart/form-data" else body
    # What no plant writes is not split into millions of cells first.
    lines = max(file.count(b"\n"), file.count(b"\r"))
    if lines > MOST_LINES:
        raise _too_many(f"has more than {MOST_LINES} lines")
    if file.count(b",") > MOST_COLUMNS * (lines + 1):
        raise _too_many(f"has more than {MOST_COLUMNS} columns")
    sheet = read_sheet(file)
    if len(sheet.batches) > MAX_BATCHES:
        raise _too_many(f"has {len(sheet.batches)} batches")
    return sheet


def _too_many(found: str) -> RequestError:
    problem = f"{found}; send at most {MAX_BATCHES} batches at a time"
    return RequestError(INVALID, f"the file {problem}", Violation("file", problem))


def _file_of_form(body: bytes, boundary: str) -> bytes:
    try:
        # Everything stays in memory: the body already is, and it is bounded.
        parser = MultipartParser(
            io.BytesIO(body), boundary, len(body), part_limit=8, spool_limit=len(body) + 1, memory_limit=len(body) + 1
        )
        parts = parser.parts()
    except (MultipartError, ValueError) as error:
        raise RequestError(MALFORMED, f"the multipart form cannot be read: {error}") from None
    files = [part for part in parts if part.filename is not None]
    if len(parts) != 1 or len(files) != 1:
        violation = Violation("form", f"has {len(parts)} fields, {len(files)} of them files; send one file alone")
        raise RequestError(INVALID, str(violation), violation)
    return bytes(files[0].raw)


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
