"""Converts fitted scikit-learn trees to one ONNX `TreeEnsemble`.

scikit-learn compares a float32 feature with a float64 threshold; the float32 thresholds here decide every float32 value
alike. A missing value takes the branch that the tree learned for it.

The only module with private attributes of scikit-learn: `_predictors` and `_baseline_prediction` of
`HistGradientBoostingRegressor`, whose trees have no public access.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from batchyield.errors import ArtifactError
from batchyield.modelling.estimators import FilledTrees

Nodes = npt.NDArray[Any]

BRANCH_LEQ, SUM, NO_TRANSFORM = 0, 1, 0
LEAF = -1


@dataclass
class TreeTable:
    """Trees whose leaves are summed.

    Attributes:
        columns: position in the feature matrix of each column of the trees.
        base: number added to the sum of the leaves, in double precision.
    """

    columns: list[int]
    base: float = 0.0
    _ints: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _splits: list[float] = field(default_factory=list)
    _leaves: list[float] = field(default_factory=list)

    def add(self, fitted: Any, weight: float = 1.0) -> None:
        """Add a fitted estimator whose predictions have a weight.

        Raises:
            ArtifactError: the estimator has no trees.
        """
        match fitted:
            case DummyRegressor():
                self.base += weight * float(fitted.constant_[0, 0])
            case FilledTrees():
                self._add_forest(fitted.trees_, weight, fitted.fill)
            case ExtraTreesRegressor() | GradientBoostingRegressor() | DecisionTreeRegressor():
                self._add_forest(fitted, weight, None)
            case HistGradientBoostingRegressor():
                self.base += weight * float(fitted._baseline_prediction.item())
                for (predictor,) in fitted._predictors:
                    n = predictor.nodes
                    left = np.where(n["is_leaf"], LEAF, n["left"].astype(np.int64))
                    right = np.where(n["is_leaf"], LEAF, n["right"].astype(np.int64))
                    missing = n["missing_go_to_left"]
                    self._add_tree(left, right, n["feature_idx"], n["num_threshold"], missing, n["value"] * weight)
            case _:
                what = f"cannot hold a {type(fitted).__name__}"
                raise ArtifactError("model.onnx", what, "choose another model in conf/model")

    def _add_forest(self, fitted: Any, weight: float, fill: float | None) -> None:
        match fitted:
            case DecisionTreeRegressor():
                trees = [fitted.tree_]
            case GradientBoostingRegressor():
                self.base += weight * float(fitted.init_.constant_[0, 0])
                trees, weight = [t.tree_ for t in fitted.estimators_[:, 0]], weight * fitted.learning_rate
            case _:
                trees, weight = [t.tree_ for t in fitted.estimators_], weight / len(fitted.estimators_)
        for t in trees:
            missing = t.missing_go_to_left if fill is None else fill <= t.threshold
            value = t.value[:, 0, 0] * weight
            self._add_tree(t.children_left, t.children_right, t.feature, t.threshold, missing, value)

    def _add_tree(
        self, left: Nodes, right: Nodes, feature: Nodes, threshold: Nodes, missing: Nodes, value: Nodes
    ) -> None:
        """Add one tree given by node: children (`LEAF` for none), feature and threshold of a branch, value."""
        # The value of the root goes to the base, in double: the float32 leaves are then small and lose little.
        self.base += float(value[0])
        if left[0] == LEAF:
            return
        branches = np.flatnonzero(left != LEAF)
        first, first_leaf = len(self._splits), len(self._leaves)
        position = np.empty(len(left), dtype=np.int64)
        position[branches] = first + np.arange(len(branches))
        leaves = np.flatnonzero(left == LEAF)
        position[leaves] = first_leaf + np.arange(len(leaves))
        is_leaf = (left == LEAF).astype(np.int64)

        ints = self._ints
        ints["tree_roots"].append(first)
        ints["nodes_featureids"] += np.asarray(self.columns)[feature[branches]].tolist()
        ints["nodes_truenodeids"] += position[left[branches]].tolist()
        ints["nodes_trueleafs"] += is_leaf[left[branches]].tolist()
        ints["nodes_falsenodeids"] += position[right[branches]].tolist()
        ints["nodes_falseleafs"] += is_leaf[right[branches]].tolist()
        ints["nodes_missing_value_tracks_true"] += np.asarray(missing)[branches].astype(np.int64).tolist()
        self._splits += _no_greater(threshold[branches]).tolist()
        self._leaves += (value[leaves] - value[0]).tolist()

    @property
    def empty(self) -> bool:
        """True if there are no trees, only `base`."""
        return not self._splits

    def node(self, source: str, result: str) -> Any:
        """Return the `TreeEnsemble` node: float32 [n, k] -> sum of the leaves, float32 [n, 1]."""

        def tensor(name: str, kind: int, numbers: list[float] | list[int]) -> Any:
            return helper.make_tensor(name, kind, [len(numbers)], numbers)

        return helper.make_node(
            "TreeEnsemble",
            [source],
            [result],
            name=result,
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function=SUM,
            post_transform=NO_TRANSFORM,
            nodes_modes=tensor("modes", TensorProto.UINT8, [BRANCH_LEQ] * len(self._splits)),
            nodes_splits=tensor("splits", TensorProto.FLOAT, self._splits),
            leaf_targetids=[0] * len(self._leaves),
            leaf_weights=tensor("weights", TensorProto.FLOAT, self._leaves),
            **self._ints,
        )


def _no_greater(threshold: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Largest float32 not above each threshold: `x <= threshold` is then unchanged for every float32 x."""
    nearest = threshold.astype(np.float32)
    return np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest)
