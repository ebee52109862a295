import json
import math
import re

import pytest
from support.commands import ROOT, run

from batchyield.errors import ConfigError, ParamsError
from batchyield.modelling.params import Bounds, parse_params
from batchyield.review.gate import BoundCheck, check_bounds
from batchyield.serving.artifact import canonical_json

GATE = {"test": {"coverage": Bounds(at_least=0.87, at_most=0.93)}}


@pytest.mark.parametrize(("coverage", "passed"), [("0.9", True), ("0.87", True), ("0.8699", False), ("0.931", False)])
def test_bounds(tmp_path, coverage, passed):
    (tmp_path / "test.json").write_text(json.dumps({"coverage": 0.5}).replace("0.5", coverage))
    (verdict,) = check_bounds(GATE, tmp_path)
    assert verdict.passed is passed
    assert ("passed" if passed else "FAILED") in str(verdict)


@pytest.mark.parametrize(
    ("figure", "value", "bounds", "text"),
    [
        ("coverage", 0.8996, Bounds(at_least=0.9), "FAILED  test coverage 89.96 %, at least 90.00"),
        ("coverage", 0.9, Bounds(at_least=0.9), "passed  test coverage 90.0 %, at least 90.0"),
        ("r2", 0.69996, Bounds(at_least=0.7), "FAILED  test r2 0.69996, at least 0.70000"),
        ("other", 0.00014, Bounds(at_most=0.0001), "FAILED  test other 0.00014, at most 0.00010"),
    ],
)
def test_close_to_bound(figure, value, bounds, text):
    """A value and a bound that it misses never read the same."""
    check = BoundCheck("test", figure, value, bounds)
    assert str(check) == text


@pytest.mark.parametrize("bounds", [Bounds(at_least=-1e9), Bounds(at_most=1e9)])
def test_nan_fails(tmp_path, bounds):
    """A metric that is NaN fails the gate in both directions."""
    (tmp_path / "test.json").write_bytes(canonical_json({"coverage": math.nan}))
    (verdict,) = check_bounds({"test": {"coverage": bounds}}, tmp_path)
    assert not verdict.passed


def test_missing_metric(tmp_path):
    with pytest.raises(ConfigError, match=r"test\.json cannot be read"):
        check_bounds(GATE, tmp_path)
    (tmp_path / "test.json").write_text('{"score": 1}')
    with pytest.raises(ConfigError, match=r"has no coverage.*\n.*it has score"):
        check_bounds(GATE, tmp_path)
    (tmp_path / "test.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"has no metrics.*\n.*remove the rules of test from conf/gate/"):
        check_bounds(GATE, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ("at_lest: 0.87", r"\$\.gate\[\.\.\.\]\[\.\.\.\]: .*at_lest"),
        ("at_least: high", r"\$\.gate\[\.\.\.\]\[\.\.\.\]\.at_least: expected float"),
    ],
)
def test_invalid_gate(wrong, place):
    text = (ROOT / "params.yaml").read_text()
    with pytest.raises(ParamsError, match=place):
        parse_params(re.sub(r"at_least: [\d.]+", wrong, text))


def test_command(tmp_path):
    strict = tmp_path / "strict.yaml"
    strict.write_text(
        re.sub(r"r2:\n( +)at_least: [\d.]+", r"r2:\n\1at_least: 0.999", (ROOT / "params.yaml").read_text())
    )
    done = run("batchyield", "review", "gate", "--params", str(strict), cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "FAILED  test r2" in done.stdout
