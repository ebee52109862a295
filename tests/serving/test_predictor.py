import math
import os
import struct
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.service import HALF_WIDTH, NAMES, ROOT, batches, linear_onnx

from batchyield.errors import ArtifactError
from batchyield.modelling.onnx_export import to_onnx
from batchyield.modelling.params import read_params
from batchyield.modelling.train import train
from batchyield.plant.batch import Batch, CellWarning
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import featurize
from batchyield.plant.simulator import simulate
from batchyield.serving.prediction import PREDICTION_DECIMALS, Prediction, round_prediction
from batchyield.serving.predictor import MIN_ORDERED_ROWS, Predictor, _round_decimals

CLEAN = Batch(id="clean", B14=400.0)
SLIPPED = Batch(id="slipped", B9="17；00-18:30", B14=420.0)


@pytest.fixture(scope="module")
def predictor():
    return Predictor(linear_onnx())


def graph_answering(**values):
    """A model whose answers are constants, one a row."""
    nodes = [
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=0),
        helper.make_node("IsNaN", ["sum"], ["missing"]),
        helper.make_node("Not", ["missing"], ["known"]),
        helper.make_node("Or", ["missing", "known"], ["any"]),
    ]
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    constants = [axis]
    for name, value in values.items():
        constants.append(helper.make_tensor(f"{name}_is", TensorProto.FLOAT, [1], [value]))
        nodes.append(helper.make_node("Where", ["any", f"{name}_is", f"{name}_is"], [name]))
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(NAMES)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in values],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def test_values(predictor):
    """Predictions are the values that the model computes."""
    predictions = predictor.predict([CLEAN])
    assert predictions == [Prediction("clean", 0.9, 0.9 - HALF_WIDTH, 0.9 + HALF_WIDTH)]


def test_order_and_ids(predictor):
    """Predictions keep the order and the ids of the batches."""
    rows = batches(50)
    predictions = predictor.predict(rows)
    assert [p.id for p in predictions] == [b.id for b in rows]
    assert [p.yield_ for p in predictions] == pytest.approx([0.9 + n / 1000 for n in range(50)], abs=1e-6)


def test_empty_batch(predictor):
    """A batch without an id and without readings is predicted."""
    assert predictor.predict([Batch()])[0].id is None
    assert predictor.predict([Batch()])[0].yield_ == 0.5


def test_no_batches(predictor):
    """No batches give no predictions."""
    assert predictor.predict([]) == []


def test_plain_floats(predictor):
    """Predictions are plain floats."""
    prediction = predictor.predict([CLEAN])[0]
    assert {type(prediction.yield_), type(prediction.lower), type(prediction.upper)} == {float}


@given(order=st.permutations(range(12)), count=st.integers(1, 12))
def test_order_invariance(predictor, order, count):
    """A batch's prediction does not depend on the other batches of the call."""
    rows = [*batches(10), CLEAN, SLIPPED]
    alone = [predictor.predict([batch])[0] for batch in rows]
    chosen = order[:count]
    assert predictor.predict([rows[n] for n in chosen]) == [alone[n] for n in chosen]


def test_repaired_cells(predictor):
    """Repaired cells are reported as warnings."""
    clean, slipped = predictor.predict([CLEAN, SLIPPED])
    assert clean.warnings == ()
    assert [(w.field, w.kind) for w in slipped.warnings] == [("B9", "full_width")]


def test_sheet_warnings(predictor):
    """Warnings of the sheet come first and stay with their row."""
    warning = CellWarning("A1", "too_long", "a cell longer than any reading")
    clean, slipped = predictor.predict([CLEAN, SLIPPED], [(), (warning,)])
    assert clean.warnings == ()
    assert [w.field for w in slipped.warnings] == ["A1", "B9"]


def test_mismatched_warnings(predictor):
    """Warnings for another number of rows raise an error."""
    with pytest.raises(ValueError, match="zip"):
        predictor.predict([CLEAN, SLIPPED], [()])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("output", ["yield", "lower", "upper"])
def test_non_finite_prediction(bad, output):
    """A prediction that is not finite raises an error."""
    answers = {"yield": 0.9, "lower": 0.8, "upper": 1.0} | {output: bad}
    predictor = Predictor(graph_answering(**answers), "the model")
    for rows in (2, MIN_ORDERED_ROWS):
        with pytest.raises(ArtifactError, match=r"the model: predicted .* for row 0, which is not a yield"):
            predictor.predict([CLEAN] * rows)


def test_cancelling_infinities():
    """Infinities that cancel raise an error."""
    predictor = Predictor(graph_answering(**{"yield": 0.9, "lower": float("-inf"), "upper": float("inf")}))
    with pytest.raises(ArtifactError, match="not a yield"):
        predictor.predict([CLEAN])


def test_not_a_model():
    """Bytes that are not an ONNX model are refused."""
    with pytest.raises(ArtifactError, match="not a model that onnxruntime can open"):
        Predictor(b"not a model")


def test_other_width():
    """A model with another number of features is refused."""
    with pytest.raises(ArtifactError, match=f"this code sends 'features' with {len(NAMES)} columns"):
        Predictor(linear_onnx(names=[*NAMES, "B99"]))


def test_missing_interval():
    """A model without interval outputs is refused."""
    with pytest.raises(ArtifactError, match="reads yield, lower, upper"):
        Predictor(graph_answering(**{"yield": 0.9}))


def test_linear_onnx():
    """The linear model of the tests computes its formula."""
    model = onnx.load_model_from_string(linear_onnx())
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    assert np.flatnonzero(weights).tolist() == [NAMES.index("B14")]


@pytest.fixture(scope="module")
def plant():
    """Simulated batches and the model that the project's own parameters make of them."""
    sheet = read_sheet(simulate(rows=240, seed=5).csv())
    values = featurize(sheet.batches).values
    trained = train(values, np.array(sheet.yields, dtype=float), read_params(ROOT / "params.yaml"))
    return sheet.batches, trained.predict(values), Predictor(to_onnx(trained))


def test_trained_model(plant):
    """The predictor reproduces the predictions of the trained model."""
    rows, answers, predictor = plant
    predictions = predictor.predict(rows)
    for name, expected in zip(("yield_", "lower", "upper"), answers, strict=True):
        assert [getattr(p, name) for p in predictions] == pytest.approx(expected.tolist(), abs=1e-6)
    assert all(p.lower <= p.yield_ <= p.upper for p in predictions)


def test_many_rows(plant):
    """Rows of a large matrix, which are predicted in another order, have the predictions of few rows."""
    rows, _, predictor = plant
    values = np.tile(featurize(rows).values, (10, 1))
    shaken = np.random.default_rng(3)
    values[shaken.random(values.shape) < 0.02] = np.nan
    values[:, 7], values[:, 8] = np.nan, 1.5
    values = shaken.permutation(values)
    assert len(values) > MIN_ORDERED_ROWS
    parts = [predictor.predict_matrix(part) for part in np.array_split(values, 40)]
    np.testing.assert_array_equal(predictor.predict_matrix(values), np.concatenate(parts, axis=1))


def test_trained_model_order_invariance(plant):
    """A trained model's predictions do not depend on the other batches of the call."""
    rows, _, predictor = plant
    together = predictor.predict(rows)
    assert [predictor.predict([batch])[0] for batch in rows] == together
    assert predictor.predict(rows[::-1]) == together[::-1]
    assert predictor.predict(rows[7:16]) == together[7:16]


def test_no_telemetry(tmp_path):
    """onnxruntime sends no telemetry."""
    # Where it does, it begins by leaving an identifier below the home folder; with CI set it never does.
    silenced = {"CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in silenced} | {"HOME": str(tmp_path)}
    code = "import sys; from batchyield.serving.predictor import Predictor; Predictor(sys.stdin.buffer.read())"
    subprocess.run([sys.executable, "-c", code], input=linear_onnx(), env=environment, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []


@given(st.lists(st.integers(0, 2 * 10**7).map(lambda half: half / 2 / 10**7), min_size=24, max_size=40), st.booleans())
def test_rounding(numbers, up):
    """Arrays are rounded exactly as single numbers."""
    near = [math.nextafter(number, 2.0 if up else -1.0) for number in numbers]
    for given_numbers in (numbers, near):
        assert _round_decimals(np.array(given_numbers)) == [
            round(number, PREDICTION_DECIMALS) for number in given_numbers
        ]


HALVES = st.integers(-2 * 10**9, 2 * 10**9).map(lambda half: half / 2 / 10**PREDICTION_DECIMALS)


@given(st.floats() | st.floats(-2, 2) | HALVES, st.sampled_from([0.0, -math.inf, math.inf]))
def test_rounding_single(number, towards):
    """A single number is rounded exactly as by `round`, also beside a tie, and keeps the sign of zero."""
    near = math.nextafter(number, towards)
    for one in (number, near):
        assert struct.pack("d", round_prediction(one)) == struct.pack("d", round(one, PREDICTION_DECIMALS))
