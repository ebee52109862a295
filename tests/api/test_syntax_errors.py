"""Locations of JSON syntax errors."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.decoding import decode_batches, locate_syntax_error
from api.problems import RequestError
from api.routes.outcomes import decode_outcomes
from batchyield.plant.batch import READING_NAMES


def refused(body):
    with pytest.raises(msgspec.DecodeError) as raised:
        msgspec.json.decode(body)
    return locate_syntax_error(body, raised.value)


texts = st.text(max_size=20)
batches = st.lists(st.fixed_dictionaries({"id": texts, "A5": texts, "A6": st.integers()}), min_size=1, max_size=5)


@given(batches, st.data(), st.sampled_from(["NaN", "Infinity", "-Infinity"]), st.sampled_from([None, 2]))
def test_nan(inputs, data, literal, indent):
    """NaN and Infinity are located by index and field."""
    index = data.draw(st.integers(0, len(inputs) - 1))
    field = data.draw(st.sampled_from([name for name in READING_NAMES if name not in ("A5", "A6")]))
    inputs[index] = inputs[index] | {field: float(literal.replace("Infinity", "inf"))}
    body = json.dumps({"inputs": inputs}, indent=indent, ensure_ascii=False).encode()
    violation = refused(body)
    assert violation.where.startswith(f"$.inputs[{index}].{field} (line ")
    assert "send null" in violation.problem


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"inputs":[{"A1":1}', "line 1, column 20"),
        (b'{"inputs":[{"A1":1},\n {"A6":', "$.inputs[1].A6 (line 2, column 8)"),
        (b'{"inputs":[\n{"A1":1,}]}', "$.inputs[0] (line 2, column 9)"),
        (b"", "line 1, column 1"),
        (b"inputs", "line 1, column 1"),
    ],
)
def test_location(body, where):
    """A syntax error is located by field and line."""
    assert refused(body).where == where


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_body(body, byte):
    """Arbitrary bytes get a location with a line."""
    assert "line" in locate_syntax_error(body, ValueError(f"invalid character (byte {byte})")).where


@pytest.mark.parametrize(
    ("decode", "body", "problem"),
    [
        (decode_batches, b"[]", '$: expected an object, got a list; send {"inputs": [...]}'),
        (decode_batches, b'{"A1": 3}', '$.A1: unknown field; put each batch into `inputs`: {"inputs": [{...}]}'),
        (
            decode_batches,
            b'{"id": "a", "A1": 3}',
            '$.id: unknown field; put each batch into `inputs`: {"inputs": [{...}]}',
        ),
        (decode_batches, b'{"inputs": [{"a1": 3}]}', "$.inputs[0].a1: unknown field; did you mean A1?"),
        (
            decode_batches,
            b'{"inputs": [{"x": 3}]}',
            "$.inputs[0].x: unknown field; see GET /schema for those there are",
        ),
        (decode_batches, b'{"inputs": [{"A6": "x"}]}', "$.inputs[0].A6: expected a number or null, got text"),
        (
            decode_batches,
            b'\xef\xbb\xbf{"inputs": [{}]}',
            "begins with a byte order mark (BOM); send UTF-8 without one",
        ),
        (decode_outcomes, b"[]", '$: expected an object, got a list; send {"outcomes": [{"id": ..., "yield": ...}]}'),
        (
            decode_outcomes,
            b'{"id": "a", "yield": 0.9}',
            'unknown field `id`; send {"outcomes": [{"id": ..., "yield": ...}]}',
        ),
        (decode_outcomes, b'{"outcomes": [{"id": "a", "yeild": 0.9}]}', "unknown field `yeild`; did you mean yield?"),
        (decode_outcomes, b'{"outcomes": [{"ID": "a", "yield": 0.9}]}', "unknown field `ID`; did you mean id?"),
        (
            decode_outcomes,
            b'{"outcomes": [{"id": "a", "x": 1}]}',
            "unknown field `x`; its fields are id, yield, measured_at",
        ),
        (
            decode_outcomes,
            b'{"outcomes": [{"id": "a", "yield": NaN}]}',
            "$.outcomes[0].yield (line 1, column 36): NaN is not JSON",
        ),
    ],
)
def test_advice(decode, body, problem):
    """A usual mistake is named in JSON's words, with what to send instead."""
    with pytest.raises(RequestError) as refused:
        decode(body)
    assert refused.value.detail.endswith(problem)


def test_each_wrong_outcome():
    """Each outcome that is wrong is named, not only the first."""
    with pytest.raises(RequestError) as refused:
        decode_outcomes(b'{"outcomes": [{"id": "a", "yield": 92}, {"id": "b", "yield": 0.9}, {"id": 3, "yield": 0.9}]}')
    assert [violation.where for violation in refused.value.violations] == ["$.outcomes[0].yield", "$.outcomes[2].id"]
    assert refused.value.detail.endswith("; and 1 more")


def test_percent():
    """A yield in per cent is refused with the unit that is expected."""
    with pytest.raises(RequestError, match=r"expected a number <= 1\.2; a yield is a fraction near 0.92"):
        decode_outcomes(b'{"outcomes": [{"id": "a", "yield": 92.1}]}')
