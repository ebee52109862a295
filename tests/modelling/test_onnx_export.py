"""Export to ONNX: predictions, signature and bytes."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor
from support.batches import MODELS, params, plant, small, trained

from batchyield.errors import ArtifactError
from batchyield.files import md5_of
from batchyield.modelling.estimators import FilledTrees
from batchyield.modelling.onnx_export import check_parity, to_onnx
from batchyield.modelling.sklearn_trees import TreeTable, _no_greater
from batchyield.modelling.train import train
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import FEATURES, featurize
from batchyield.serving.artifact import PREDICTION_TOLERANCE

WIDTH = len(FEATURES)
OUTPUTS = ["yield", "lower", "upper"]


def session(written):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])


def thresholds(written):
    """Rows that lie exactly on the graph's own thresholds, and one float32 to either side; any rows without trees."""
    trees = next((node for node in onnx.load_from_string(written).graph.node if node.op_type == "TreeEnsemble"), None)
    if trees is None:
        return plant()[0].values
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in trees.attribute}
    splits = onnx.numpy_helper.to_array(attributes["nodes_splits"])
    features = np.array(attributes["nodes_featureids"])
    on = np.tile(np.nanmedian(plant()[0].values, axis=0).astype(np.float32), (600, 1))
    for feature in np.unique(features):
        own = splits[features == feature]
        on[:, feature] = np.resize(own, 600)
    return np.vstack([on, np.nextafter(on, np.float32(-np.inf)), np.nextafter(on, np.float32(np.inf))])


@cache
def _written(model):
    return to_onnx(trained(model))


@cache
def session_of(model):
    return session(_written(model))


class TestPredictions:
    @pytest.mark.parametrize("model", MODELS)
    def test_parity(self, model):
        """The exported model predicts the same as the trained one."""
        made = trained(model)
        written = to_onnx(made)
        values = plant()[0].values
        rng = np.random.default_rng(0)
        holes = np.where(rng.random(values.shape) < 0.3, np.float32(np.nan), values)
        mixed = rng.permuted(values, axis=0)
        blank = np.full((2, WIDTH), np.nan, dtype=np.float32)
        other = plant(300, 11)[0].values
        assert check_parity(written, made, np.vstack([values, other, holes, mixed, blank])) <= PREDICTION_TOLERANCE

    @pytest.mark.parametrize("model", MODELS)
    def test_thresholds(self, model):
        """Rows on a threshold take the same branch."""
        made = trained(model)
        written = to_onnx(made)
        assert check_parity(written, made, thresholds(written)) <= PREDICTION_TOLERANCE

    @settings(max_examples=50)
    @given(
        arrays.arrays(
            np.float32, (4, WIDTH), elements=st.floats(-1e6, 1e6, width=32) | st.just(np.nan) | st.sampled_from([0, 1])
        )
    )
    def test_any_row(self, rows):
        """Any row gives the same prediction."""
        made = trained("line_blend")
        assert check_parity(_written("line_blend"), made, rows) <= PREDICTION_TOLERANCE
        answers = session_of("line_blend").run(OUTPUTS, {"features": rows})
        assert np.isfinite(answers).all()
        assert (answers[1] <= answers[0]).all()
        assert (answers[0] <= answers[2]).all()

    @pytest.mark.parametrize("model", MODELS)
    def test_single_row(self, model):
        """A row gives the same bits alone and among others."""
        values = plant()[0].values[:50]
        together = session_of(model).run(OUTPUTS, {"features": values})
        alone = [session_of(model).run(OUTPUTS, {"features": values[i : i + 1]}) for i in range(50)]
        np.testing.assert_array_equal(np.array(together), np.array(alone)[:, :, 0].T)

    @pytest.mark.parametrize(
        "trees", [ExtraTreesRegressor(5, random_state=0), FilledTrees(ExtraTreesRegressor(5, random_state=0))]
    )
    def test_missing_values(self, trees):
        """A missing value takes the branch that the tree learned."""
        rng = np.random.default_rng(0)
        seen = rng.normal(size=(200, 3)).astype(np.float32)
        target = seen[:, 0] + (seen[:, 1] > 0)
        seen[rng.random(seen.shape) < 0.3] = np.nan
        fitted = trees.fit(seen, target)
        table = TreeTable([4, 1, 2])
        table.add(fitted)
        graph = onnx.helper.make_graph(
            [table.node("x", "y")],
            "trees",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 5])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 1])],
        )
        opsets = [onnx.helper.make_opsetid("ai.onnx.ml", 5)]
        opened = session(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
        wide = np.full((200, 5), 99, dtype=np.float32)
        wide[:, [4, 1, 2]] = seen
        np.testing.assert_allclose(opened.run(None, {"x": wide})[0][:, 0] + table.base, fitted.predict(seen), atol=1e-6)

    @pytest.mark.real_data
    @pytest.mark.slow
    @pytest.mark.parametrize("model", MODELS)
    def test_real_batches(self, real_data, model):
        """Real batches give the same predictions."""
        sheet = read_sheet((real_data / "jinnan_round1_train_20181227.csv").read_bytes())
        test = read_sheet((real_data / "jinnan_round1_testA_20181227.csv").read_bytes())
        values = featurize(sheet.batches).values
        made = train(values, np.array(sheet.yields), params(f"model={model}", "intervals.folds=2"))
        written = to_onnx(made)
        assert check_parity(written, made, np.vstack([values, featurize(test.batches).values])) <= PREDICTION_TOLERANCE
        assert len(written) < 5_000_000


class TestGraph:
    @pytest.mark.parametrize("model", MODELS)
    def test_signature(self, model):
        """The graph is valid and has the documented inputs and outputs."""
        graph = onnx.load_from_string(_written(model))
        onnx.checker.check_model(graph, full_check=True)
        opened = session_of(model)
        assert [(i.name, i.type, i.shape) for i in opened.get_inputs()] == [
            ("features", "tensor(float)", ["batch", WIDTH])
        ]
        assert [(o.name, o.type, o.shape) for o in opened.get_outputs()] == [
            (n, "tensor(double)", ["batch"]) for n in OUTPUTS
        ]
        assert {c.name for c in graph.graph.initializer} <= {name for node in graph.graph.node for name in node.input}

    @pytest.mark.parametrize("model", MODELS)
    def test_equal_bytes(self, model):
        """Equal trainings give equal bytes."""
        features, yields = plant()
        assert to_onnx(train(features.values, yields, small(model))) == _written(model)

    @pytest.mark.slow
    def test_machine_independent_bytes(self):
        """Threads, BLAS kernels and instruction sets do not change the bytes."""
        script = (
            "from support.batches import *; from batchyield.files import md5_of;"
            "from batchyield.modelling.onnx_export import to_onnx;"
            "print([md5_of(to_onnx(trained(m))) for m in MODELS])"
        )
        machines = [
            {"OMP_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Prescott", "PYTHONHASHSEED": "7"},
            {"OMP_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Sandybridge", "NPY_DISABLE_CPU_FEATURES": "X86_V4"},
        ]
        here = str([md5_of(_written(model)) for model in MODELS])
        for machine in machines:
            done = subprocess.run(
                [sys.executable, "-c", script], cwd=Path(__file__).parents[1], env=os.environ | machine,
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert done.stdout.strip() == here, machine

    def test_wrong_graph(self):
        """A graph of another model fails the parity check."""
        made, other = trained("line_trees"), trained("extra_trees")
        with pytest.raises(ArtifactError, match="differs from the trained model by up to"):
            check_parity(to_onnx(other), made, plant()[0].values)

    def test_unknown_estimator(self):
        """An estimator without trees is refused."""
        with pytest.raises(ArtifactError, match="cannot hold a SVR"):
            TreeTable([0]).add(SVR())

    def test_single_leaf(self):
        """A tree of one leaf is a constant."""
        table = TreeTable([0, 1])
        table.add(DecisionTreeRegressor().fit([[1.0, 2.0]] * 3, [0.9] * 3), weight=0.5)
        assert table.empty
        assert table.base == pytest.approx(0.45)

    @given(st.floats(-1e6, 1e6))
    def test_float32_threshold(self, threshold):
        """A float32 threshold decides every float32 value as the float64 one."""
        single = _no_greater(np.array([threshold]))[0]
        around = [single, np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf))]
        assert [bool(x <= single) for x in around] == [bool(float(x) <= threshold) for x in around]
