import json

import pytest
from conftest import ROOT, run

from batchyield.errors import ParamsError, SetupError
from batchyield.gate import judge, load_gate


@pytest.fixture
def gate(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text("test:\n  coverage: {at_least: 0.87, at_most: 0.93}\n")
    return path


@pytest.mark.parametrize(
    ("coverage", "passed"), [("0.9", True), ("0.87", True), ("0.8699", False), ("0.931", False), ("NaN", False)]
)
def test_a_figure_passes_between_its_bounds_only(gate, tmp_path, coverage, passed):
    (tmp_path / "test.json").write_text(json.dumps({"coverage": 0.5}).replace("0.5", coverage))
    if coverage == "NaN":
        with pytest.raises(SetupError, match=r"test\.json cannot be read"):
            judge(load_gate(gate), tmp_path)
        return
    (verdict,) = judge(load_gate(gate), tmp_path)
    assert verdict.passed is passed
    assert ("passed" if passed else "FAILED") in str(verdict)


def test_a_figure_that_was_not_measured_is_no_pass(gate, tmp_path):
    with pytest.raises(SetupError, match=r"test\.json cannot be read"):
        judge(load_gate(gate), tmp_path)
    (tmp_path / "test.json").write_text('{"score": 1}')
    with pytest.raises(SetupError, match=r"has no coverage.*\n.*it has score"):
        judge(load_gate(gate), tmp_path)


@pytest.mark.parametrize("text", ["test: 3", "test:\n  coverage: {at_lest: 1}", "test:\n  coverage: {at_least: high}"])
def test_a_wrong_gate_is_said_so(gate, text):
    gate.write_text(text)
    with pytest.raises(ParamsError, match=r"gate\.yaml: .*\$"):
        load_gate(gate)


def test_the_committed_model_passes_and_another_gate_stops_it(tmp_path):
    done = run("batchyield", "gate", cwd=ROOT)
    assert "FAILED" not in done.stdout
    strict = tmp_path / "strict.yaml"
    strict.write_text("test:\n  r2: {at_least: 0.999}\n")
    done = run("batchyield", "gate", "--gate", str(strict), cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "FAILED  test r2" in done.stdout
