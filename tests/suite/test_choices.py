"""The suite passes for any committed model: `make environments SESSION=choices` runs it on others every night."""

import json

import pytest
from support.commands import ROOT

METRICS = sorted((ROOT / "data/metrics").glob("*.json"))
DIGITS = 5
"""Digits from which a number in a test cannot be one by chance."""


def numbers(value):
    """Return the texts of all numbers in the content of a metrics file, without their leading zeros."""
    if isinstance(value, dict):
        return {text for each in value.values() for text in numbers(each)}
    digits = f"{value:.9f}".replace(".", "").lstrip("-0").rstrip("0")
    return {digits[:DIGITS]} if len(digits) >= DIGITS else set()


@pytest.mark.parametrize("file", METRICS, ids=lambda file: file.stem)
def test_no_digits(file):
    """No test holds a committed metric: with another model it would fail."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    found = {
        digits: path
        for digits in numbers(json.loads(file.read_text()))
        for path, text in texts.items()
        if digits in text.replace(".", "").replace("_", "")
    }
    assert not found
