"""Decode request bodies into batches, and locate the errors of a body that cannot be decoded."""

import difflib
import io
import re
from collections.abc import Callable, Iterable
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from multipart import MultipartError, MultipartParser, parse_options_header  # type: ignore[import-untyped]

from api.problems import INVALID, MALFORMED, MAX_VIOLATIONS, RequestError, summarize
from batchyield.errors import Violation
from batchyield.plant.batch import READING_NAMES, REMOVED, Batch, CellWarning
from batchyield.plant.csv_reader import Sheet, read_sheet
from batchyield.plant.other_schemas import BatchWithRemoved, drop_removed
from batchyield.serving.chunking import MAX_BATCHES

MAX_LINES = 2 * MAX_BATCHES
"""Of a CSV file, with room for blank lines and for line breaks inside cells."""

MAX_COLUMNS = 1_000

STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A JSON string, closed or not; possessive, so that no body makes it backtrack."""

MAX_SEARCHED_BYTES = 2 * 2**20
"""In a larger body an error has line and column, but no batch and field."""

NOT_A_NUMBER = re.compile(rb"-?(NaN|Infinity|inf|nan)")
KEY = re.compile(rb'"([^"\\]{1,64})"\s*:\s*-?\Z')
BYTE = re.compile(r"byte (\d+)")


class PredictionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Batches to predict."""

    inputs: Annotated[list[Batch], Meta(min_length=1, max_length=MAX_BATCHES, description="the batches, in any order")]


class _RawRequest(msgspec.Struct, forbid_unknown_fields=True):
    inputs: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_BATCHES)]


_request = msgspec.json.Decoder(PredictionRequest)
_raw_request = msgspec.json.Decoder(_RawRequest)
_batch = msgspec.json.Decoder(BatchWithRemoved)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
BRACE = ord("{")
UNKNOWN_FIELD = "Object contains unknown field `"


TYPE = re.compile(r"`([a-z |]+)`")
TYPE_NAMES = {
    **{"float": "a number", "int": "a whole number", "str": "text", "bool": "true or false"},
    **{"array": "a list", "object": "an object", "null": "null"},
}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def decode_batches(body: bytes) -> tuple[list[Batch], list[tuple[CellWarning, ...]] | None]:
    """Return the batches of the body `{"inputs": [...]}`, and their warnings if one has a reading that was removed.

    Raises:
        RequestError: it is not JSON (400), or it has violations (422), each with index and field.
    """
    if len(body) > MAX_BATCHES and _braces(body) > MAX_BATCHES + 1 and _braces(STRING.sub(b"", body)) > MAX_BATCHES + 1:
        # The decoder checks the length only at the end, when millions of empty batches have filled the memory.
        violation = Violation("$.inputs", f"expected a list of length <= {MAX_BATCHES}")
        raise RequestError(INVALID, str(violation), violation)
    try:
        return _request.decode(body).inputs, None
    except msgspec.ValidationError as error:
        if REMOVED and (decoded := _decode_removed(body)):
            return decoded
        found = collect_violations(body, "inputs", _split, _batch.decode, _violations_of_batch)
        violations = found or (_violation(error, "$", '; send {"inputs": [...]}'),)
    except (ValueError, RecursionError) as error:
        violation = locate_syntax_error(body, error)
        raise RequestError(MALFORMED, f"the body is not JSON: {violation}", violation) from None
    raise RequestError(INVALID, summarize(violations), *violations)


def _decode_removed(body: bytes) -> tuple[list[Batch], list[tuple[CellWarning, ...]]] | None:
    """Return the batches of a body whose only fault is to have readings that were removed, else None."""
    try:
        pairs = [drop_removed(_batch.decode(raw)) for raw in _raw_request.decode(body).inputs]
    except (ValueError, RecursionError):
        return None
    return [batch for batch, _ in pairs], [warnings for _, warnings in pairs]


def _braces(body: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == BRACE))  # in a quarter of the time of `count`


def collect_violations(
    body: bytes,
    items: str,
    split: Callable[[bytes], Iterable[msgspec.Raw]],
    decode: Callable[[msgspec.Raw], object],
    violations_of: Callable[[bytes, msgspec.ValidationError, str], Iterable[Violation]],
) -> tuple[Violation, ...]:
    """Return the violations of a body's items, at most `MAX_VIOLATIONS`; none if the error lies outside of them.

    Args:
        body: of the request, which the decoder refused.
        items: name of their list in the body.
        split: returns the items of the body.
        decode: decodes one.
        violations_of: returns the violations of one that is refused, from its bytes, the error and its place.
    """
    violations: list[Violation] = []
    if len(body) > MAX_SEARCHED_BYTES:
        return ()
    try:
        for index, raw in enumerate(split(body)):
            try:
                decode(raw)
            except msgspec.ValidationError as error:
                violations += violations_of(bytes(raw), error, f"$.{items}[{index}]")
                if len(violations) >= MAX_VIOLATIONS:
                    break
    except (ValueError, RecursionError):
        pass  # the body ends here; the violations before it are reported
    return tuple(violations[:MAX_VIOLATIONS])


def _split(body: bytes) -> list[msgspec.Raw]:
    return _raw_request.decode(body).inputs


def _violations_of_batch(raw: bytes, first: msgspec.ValidationError, where: str) -> list[Violation]:
    """Return the violation of each field of a batch; `first` is what the decoder stopped at."""
    violations = []
    try:
        fields = _fields.decode(raw)
    except msgspec.ValidationError:  # it is no object
        return [_violation(first, where)]
    for name, value in fields.items():
        try:
            _batch.decode(b"{%b:%b}" % (msgspec.json.encode(name), value))
        except msgspec.ValidationError as error:
            violations.append(_violation(error, where))
    return violations or [_violation(first, where)]


def _violation(error: msgspec.ValidationError, root: str, remedy: str = "") -> Violation:
    problem, _, path = str(error).rpartition(" - at `$")
    if not problem or (root != "$" and str(error).startswith(UNKNOWN_FIELD)):
        # A batch contains no objects, so what looks like a path is part of a field name that the caller chose.
        problem, path = str(error), ""
    path = root + path.rstrip("`")
    if problem.startswith(UNKNOWN_FIELD):
        name = problem.removeprefix(UNKNOWN_FIELD).removesuffix("`")
        similar = difflib.get_close_matches(name.upper(), READING_NAMES, n=1, cutoff=0.75)
        advice = f"did you mean {similar[0]}?" if similar else "see GET /schema for those there are"
        if path == "$" and (name == "id" or name in READING_NAMES):
            advice = 'put each batch into `inputs`: {"inputs": [{...}]}'
        return Violation(f"{path}.{name}", f"unknown field; {advice}")
    return Violation(path, describe_problem(problem) + (remedy if path == "$" else ""))


def describe_problem(problem: str) -> str:
    """Return a problem that msgspec found, with JSON's types in words instead of Python's names."""

    def name(types: re.Match[str]) -> str:
        names = [TYPE_NAMES.get(part) for part in types[1].split(" | ")]
        return " or ".join(filter(None, names)) if all(names) else types[0]

    return TYPE.sub(name, problem[:1].lower() + problem[1:])


def decode_upload(body: bytes, content_type: str) -> Sheet:
    """Return the batches of the plant's CSV file, sent as the body or as the only file of a multipart form.

    Raises:
        RequestError: the form cannot be parsed or has no file, or the file has too many batches.
        InputError: the file cannot be parsed as batches.
    """
    kind, options = parse_options_header(content_type)
    file = _file_of_form(body, options.get("boundary", "")) if kind == "multipart/form-data" else body
    # Before the file is split into millions of cells.
    lines = max(file.count(b"\n"), file.count(b"\r"))
    if lines > MAX_LINES:
        raise _too_many(f"has more than {MAX_LINES} lines")
    if file.count(b",") > MAX_COLUMNS * (lines + 1):
        raise _too_many(f"has more than {MAX_COLUMNS} columns")
    sheet = read_sheet(file, sparse=True)
    if len(sheet.batches) > MAX_BATCHES:
        raise _too_many(f"has {len(sheet.batches)} batches")
    return sheet


def _too_many(size: str) -> RequestError:
    problem = f"{size}; send at most {MAX_BATCHES} batches at a time"
    return RequestError(INVALID, f"the file {problem}", Violation("file", problem))


def _file_of_form(body: bytes, boundary: str) -> bytes:
    try:
        # All parts stay in memory, as the body does, whose size is limited.
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


def locate_syntax_error(body: bytes, error: Exception, items: str = "inputs") -> Violation:
    """Return the decoder's error with line and column, and with index and field if it is inside one of the `items`."""
    byte = BYTE.search(str(error))  # None if the body ends early
    at = min(int(byte[1]), len(body)) if byte else len(body)
    line, column = body.count(b"\n", 0, at) + 1, at - body.rfind(b"\n", 0, at)
    where = f"line {line}, column {column}"
    if at <= MAX_SEARCHED_BYTES and (place := _place(body[:at], items)):
        where = f"{place} ({where})"
    if body.startswith(BYTE_ORDER_MARK):
        return Violation(where, "the body begins with a byte order mark (BOM); send UTF-8 without one")
    # The decoder points behind the first letter of an invalid value.
    if literal := NOT_A_NUMBER.match(body, at) or NOT_A_NUMBER.match(body, max(0, at - 1)):
        advice = "; send null for a reading that is missing" if items == "inputs" else ""
        return Violation(where, f"{literal[0].decode()} is not JSON{advice}")
    return Violation(where, str(error))


def _place(before: bytes, items: str) -> str:
    plain = STRING.sub(b"", before)
    opened, closed = plain.count(b"{") - 1, plain.count(b"}")
    if opened < 1 or opened == closed:
        return ""
    key = KEY.search(before[-100:])
    field = f".{key[1].decode(errors='replace')}" if key else ""
    return f"$.{items}[{opened - 1}]{field}"
