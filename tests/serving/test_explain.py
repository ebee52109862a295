"""Explanations are Shapley values of the served model against the typical batch."""

import math
from functools import cache
from itertools import combinations

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.batches import plant, trained
from support.service import NAMES, REFERENCE, ROOT, WIDTH, batches, linear_onnx

from batchyield.errors import ArtifactError
from batchyield.modelling.onnx_export import to_onnx
from batchyield.plant.batch import Batch
from batchyield.plant.features import featurize
from batchyield.serving.artifact import canonical_json
from batchyield.serving.predictor import Predictor
from batchyield.serving.reference_profile import build_reference, read_reference
from batchyield.serving.responses import Explanation
from batchyield.serving.shapley import PERMUTATION_PAIRS, TOP_CONTRIBUTIONS, Explainer

CLEAN = Batch(id="clean", A1=300.0, A5="6:00:00", B9="17:00-18:30", B14=400.0)
UNLIKE = Batch(id="unlike", A1=250.0, A3=405.0, A5="7:00:00", A6=29.0, B12=1200.0, B14=380.0)


def onnx_of(weights, factors=()):
    """A model in double precision: 0.5 + weights @ features + the product of some; missing features count as 0."""
    column = np.zeros((WIDTH, 1))
    for name, weight in weights.items():
        column[NAMES.index(name), 0] = weight
    constants = {
        "weights": column,
        "constant": np.float64([0.5]),
        "nought": np.float64([0]),
        "flat": np.int64([-1]),
        "factors": np.int64([NAMES.index(name) for name in factors]),
        "axis": np.int64([1]),
        "scale": np.float64([1e-6 if factors else 0]),
    }
    nodes = [
        helper.make_node("Cast", ["features"], ["double"], to=TensorProto.DOUBLE),
        helper.make_node("IsNaN", ["double"], ["missing"]),
        helper.make_node("Where", ["missing", "nought", "double"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["sum"]),
        helper.make_node("Gather", ["filled", "factors"], ["chosen"], axis=1),
        helper.make_node("ReduceProd", ["chosen", "axis"], ["product"], keepdims=1),
        helper.make_node("Mul", ["product", "scale"], ["scaled"]),
        helper.make_node("Add", ["sum", "scaled"], ["both"]),
        helper.make_node("Add", ["both", "constant"], ["column"]),
        *(helper.make_node("Reshape", ["column", "flat"], [name]) for name in ("yield", "lower", "upper")),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None]) for name in ("yield", "lower", "upper")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def small(weights, factors=()):
    predictor = Predictor(onnx_of(weights, factors))
    return predictor, Explainer(predictor, read_reference(REFERENCE))


@cache
def of_plant():
    """The project's kind of model over a simulated plant, with its features."""
    values = plant()[0].values
    predictor = Predictor(to_onnx(trained("line_trees")))
    profile = build_reference(NAMES, values, predictor.predict_yields(values), {}, np.arange(len(values)))
    return predictor, Explainer(predictor, profile), values


def changed(typical, **values):
    """The typical batch, but for some features."""
    row = typical.copy()
    for name, value in values.items():
        row[NAMES.index(name)] = value
    return row


def exact(predictor, typical, row):
    """Shapley values from their definition: every subset of the features that differ."""
    differ = [i for i in range(WIDTH) if not np.array_equal(row[i], typical[i], equal_nan=True)]
    subsets = [s for size in range(len(differ) + 1) for s in combinations(differ, size)]
    rows = np.tile(typical, (len(subsets), 1))
    for i, subset in enumerate(subsets):
        rows[i, list(subset)] = row[list(subset)]
    yields = dict(zip(subsets, predictor.predict_yields(rows).tolist(), strict=True))
    values = np.zeros(WIDTH)
    for i in differ:
        for subset in subsets:
            if i not in subset:
                weight = 1 / (len(differ) * math.comb(len(differ) - 1, len(subset)))
                values[i] += weight * (yields[tuple(sorted((*subset, i)))] - yields[subset])
    return values


def total(explanation):
    return explanation.baseline + sum(c.effect for c in explanation.contributions) + explanation.rest


def test_typical_batch():
    """The typical batch has the medians, and is blank where most batches are."""
    _, explainer, values = of_plant()
    blank = np.isnan(values).mean(axis=0) > 0.5
    assert blank.any()
    assert np.isnan(explainer.typical[blank]).all()
    present = values[:, ~blank].astype(np.float64)
    medians = np.nanquantile(present, 0.5, axis=0, method="inverted_cdf")
    assert explainer.typical[~blank] == pytest.approx(medians)
    assert explainer.baseline == explainer._predictor.predict_yields(explainer.typical[None])[0]


def test_linear_model():
    """Effects of a linear model are weight times difference."""
    weights = {"B14": 0.001, "A1": -0.002, "A6": 0.003, "B12": 0.0001}
    _, explainer = small(weights)
    row = featurize([UNLIKE]).values[0]
    effects = explainer.shapley_values(row)
    difference = np.nan_to_num(row).astype(np.float64) - np.nan_to_num(explainer.typical)
    for name, weight in weights.items():
        i = NAMES.index(name)
        assert effects[i] == pytest.approx(weight * difference[i], abs=1e-12)
    assert {NAMES[i] for i in np.flatnonzero(effects)} == set(weights)


def test_pairwise_interactions():
    """Shapley values are exact for pairwise interactions."""
    predictor, explainer = small({"A6": 0.001}, ("A1", "B14"))
    row = changed(explainer.typical, A1=250, B14=380, A6=29, A3=405, A4=700)
    expected = exact(predictor, explainer.typical, row)
    assert explainer.shapley_values(row) == pytest.approx(expected, abs=1e-12)
    assert expected[NAMES.index("A1")] == pytest.approx(1e-6 * (250 - 300) * (409 + 380) / 2, abs=1e-12)


def test_three_way_interaction():
    """Shapley values are close for an interaction of three features."""
    predictor, explainer = small({}, ("A1", "B14", "A5_clock"))
    row = changed(explainer.typical, A1=250, B14=380, A5_clock=365, A3=405, A4=700)
    expected = exact(predictor, explainer.typical, row)
    assert np.abs(explainer.shapley_values(row) - expected).max() < 0.02 * np.abs(expected).max()


@given(which=st.sets(st.integers(0, WIDTH - 1), max_size=7), batch=st.integers(0, 399))
@settings(max_examples=25, deadline=None)
def test_trained_model(which, batch):
    """Shapley values of a trained model are close to the exact ones."""
    predictor, explainer, values = of_plant()
    row = explainer.typical.copy()
    row[list(which)] = values[batch, list(which)]
    assert np.abs(explainer.shapley_values(row) - exact(predictor, explainer.typical, row)).max() < 1e-3


@given(batch=st.integers(0, 399), blank=st.sets(st.integers(0, WIDTH - 1)))
@settings(max_examples=25, deadline=None)
def test_sum_of_effects(batch, blank):
    """Effects add up to the difference, and are zero for equal features."""
    predictor, explainer, values = of_plant()
    row = values[batch].copy()
    row[list(blank)] = np.nan
    effects = explainer.shapley_values(row)
    assert effects.sum() == pytest.approx(predictor.predict_yields(row[None])[0] - explainer.baseline, abs=1e-12)
    same = [np.array_equal(a, b, equal_nan=True) for a, b in zip(row, explainer.typical, strict=True)]
    assert not effects[same].any()
    # The batch number is always computed and by default never chosen.
    assert effects[NAMES.index("id_number")] == 0


readings = st.floats(-1e6, 1e6, width=32) | st.none()
anything = st.builds(Batch, A1=readings, A3=readings, A6=readings, B1=readings, B12=readings, B14=readings)


@given(batch=anything, top=st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_sum_of_explanation(batch, top):
    """An explanation adds up to the predicted yield, largest contributions first."""
    predictor, explainer, _ = of_plant()
    (explanation,) = explainer.explain([batch], top)
    assert total(explanation) == pytest.approx(predictor.predict([batch])[0].yield_, abs=1e-9)
    sizes = [abs(c.effect) for c in explanation.contributions]
    assert len(sizes) <= top
    assert sizes == sorted(sizes, reverse=True)
    assert 0 not in sizes


@given(order=st.permutations(range(6)), count=st.integers(1, 6))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_order_invariance(order, count):
    """An explanation does not depend on the other batches of the call."""
    _, explainer, _ = of_plant()
    rows = [*batches(4), UNLIKE, Batch()]
    alone = [explainer.explain([batch])[0] for batch in rows]
    assert explainer.explain([rows[n] for n in order[:count]]) == [alone[n] for n in order[:count]]


def test_reproducible():
    """A second explainer of the same model gives equal explanations."""
    predictor, explainer, values = of_plant()
    profile = build_reference(NAMES, values, predictor.predict_yields(values), {}, np.arange(len(values)))
    another = Explainer(Predictor(to_onnx(trained("line_trees"))), profile)
    assert another.explain([UNLIKE]) == explainer.explain([UNLIKE])


def test_top_contributions():
    """The largest contributions have their values, and the others are summed."""
    weights = {"B14": 0.001, "A1": 0.0001, "A3": 0.0002}
    _, explainer = small(weights)
    (whole,) = explainer.explain([UNLIKE])
    assert [(c.feature, c.value, c.typical) for c in whole.contributions] == [
        ("A3", 405.0, None),
        ("B14", 380.0, 409.0),
        ("A1", 250.0, 300.0),
    ]
    assert [c.effect for c in whole.contributions] == pytest.approx([0.081, -0.029, -0.005])
    assert whole.rest == 0
    (short,) = explainer.explain([UNLIKE], top=1)
    assert short.contributions == whole.contributions[:1]
    assert short.rest == pytest.approx(-0.034)
    assert total(short) == pytest.approx(total(whole))


def test_missing_reading():
    """A missing reading has an effect and no value."""
    _, explainer = small({"B14": 0.001})
    (explanation,) = explainer.explain([Batch()])
    (contribution,) = explanation.contributions
    assert (contribution.feature, contribution.value, contribution.typical) == ("B14", None, 409.0)
    assert contribution.effect == pytest.approx(-0.409)


def test_explain_typical_batch():
    """The typical batch has no contributions."""
    predictor = Predictor(onnx_of({"B14": 0.001}))
    values = featurize([CLEAN]).values
    explainer = Explainer(
        predictor, build_reference(NAMES, values, predictor.predict_yields(values), {}, np.arange(len(values)))
    )
    assert explainer.explain([CLEAN]) == [Explanation(0.9, (), 0.0)]
    assert msgspec.json.encode(explainer.explain([CLEAN])[0].rest) == b"0.0"


def test_no_batches():
    """No batches give no explanations."""
    assert small({})[1].explain([]) == []


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        (b"{", "the profile: is not a reference profile: "),
        (b"{}", "the profile: is not a reference profile: .*`rows`"),
        (b"\xff", "the profile: is not a reference profile: "),
        (
            canonical_json(msgspec.structs.replace(read_reference(REFERENCE), features={})),
            "the profile: has no profile of the feature 'A1'",
        ),
    ],
)
def test_invalid_profile(profile, problem):
    """An invalid reference profile is refused."""
    with pytest.raises(ArtifactError, match=problem):
        Explainer(Predictor(linear_onnx()), read_reference(profile, "the profile"), "the profile")


def test_non_finite_prediction():
    """A model that predicts infinity for a mixture is refused."""
    with pytest.raises(ArtifactError, match=r"the profile: the prediction for a mixture .* is not a number"):
        Explainer(Predictor(onnx_of({"B14": math.inf})), read_reference(REFERENCE), "the profile")


def test_documentation():
    """docs/explanations.md has the constants and example of the code."""
    guide = (ROOT / "docs/explanations.md").read_text()
    assert f"**{PERMUTATION_PAIRS}**" in guide
    assert f"the {TOP_CONTRIBUTIONS} largest" in guide
    shown = msgspec.json.decode("{" + guide.split("```")[3] + "}", type=dict[str, Explanation])["explanation"]
    assert len(shown.contributions) == TOP_CONTRIBUTIONS
    assert all(c.feature in NAMES for c in shown.contributions)
    assert total(shown) == pytest.approx(0.9334422, abs=1e-9)
