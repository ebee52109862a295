"""Locations of JSON syntax errors."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.decoding import locate_syntax_error
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
