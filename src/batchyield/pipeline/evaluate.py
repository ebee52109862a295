"""The artifact on batches it has not seen: metrics with their confidence, and what the plots draw."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from batchyield.files import write_atomic
from batchyield.modelling import metrics as evaluation
from batchyield.modelling.estimators import Array, Matrix
from batchyield.modelling.metrics import partial_dependence
from batchyield.modelling.params import read_params
from batchyield.modelling.parquet import read_features, read_table, to_batches
from batchyield.modelling.train import Predictions
from batchyield.pipeline import run
from batchyield.plant.features import featurize, id_number
from batchyield.serving.artifact import canonical_json
from batchyield.serving.predictor import Predictor

SHOWN = 20
"""Features in the importance plot; the rest are in the file of groups."""

EFFECTS = 6
"""Features whose effect is drawn: the most important ones."""

SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
SHUFFLES = 5
LATEST = 0.2
"""Share of the training batches that the forward metrics hold back: the latest ones, as a deployed model meets them."""


def main() -> None:
    """Reads `data/model/`, `data/split/` and `data/features/`; writes `data/metrics/` and `data/plots/`."""
    params = read_params()
    frame = read_table(Path("data/split/test.parquet"))
    values = read_features(Path("data/features/test.parquet"))
    measured = frame["yield"].to_numpy(dtype=float)
    model = Predictor(Path("data/model/model.onnx").read_bytes())

    def predict_columns(matrix: Matrix) -> Predictions:
        return Predictions(*(np.array(side) for side in model.predict_matrix(matrix)))

    answers = predict_columns(values)
    settings = params.evaluation
    metrics("test", evaluation.compute_metrics(measured, answers))
    metrics(
        "confidence",
        evaluation.bootstrap(measured, answers, settings.bootstrap, settings.confidence, settings.seed),
    )
    labels = evaluation.slice_labels(featurize(to_batches(frame)))
    parts = evaluation.slice_metrics(measured, answers, labels)
    plot("slices", pd.DataFrame([{"by": p.by, "label": p.label, "batches": p.rows, **p.figures} for p in parts]))
    plot("predicted", {"id": frame["id"], "actual": measured, **answers._asdict()})
    numbers = [id_number(name) for name in frame["id"]]
    plot(
        "residuals",
        {"batch": numbers, "residual": (measured - answers.yields).round(evaluation.METRIC_DECIMALS)},
        "batch",
    )

    def predict(matrix: Matrix) -> Array:
        return predict_columns(matrix).yields

    blocks = {"groups": evaluation.group_blocks(), "importance": evaluation.feature_blocks()}
    lost = {
        name: evaluation.permutation_importance(predict, values, measured, block, SHUFFLES, settings.seed)
        for name, block in blocks.items()
    }
    for name, by in lost.items():
        plot(name, {"what": list(by)[:SHOWN], "score_lost": list(by.values())[:SHOWN]})
    effects = partial_dependence(predict, values, list(lost["importance"])[:EFFECTS])
    plot("effects", pd.DataFrame(effects, columns=["feature", "value", "yield"]))

    train_yields = read_table(Path("data/split/train.parquet"))["yield"].to_numpy(dtype=float)
    train_values = read_features(Path("data/features/train.parquet"))
    folded = evaluation.cross_validate(train_values, train_yields, params)
    metrics("cross_validation", folded.figures | {"score_spread": folded.spread})
    forward = evaluation.evaluate_forward(train_values, train_yields, params, LATEST)
    if not forward:
        print("no forward metrics: too few ids end in a number that orders the batches by time", file=sys.stderr)
    metrics("forward", forward)
    curve = evaluation.learning_curve(train_values, train_yields, values, measured, params, SHARES)
    plot("learning", {"batches": [rows for rows, _ in curve], "score": [figures["score"] for _, figures in curve]})


def metrics(name: str, figures: object) -> None:
    """Writes figures where DVC shows and compares them."""
    write_atomic(Path(f"data/metrics/{name}.json"), canonical_json(figures))


def plot(name: str, columns: Mapping[str, Any] | pd.DataFrame, order: str | None = None) -> None:
    """Writes the points of one plot."""
    points = pd.DataFrame(columns)
    if order:
        points = points.sort_values(order, kind="stable")
    write_atomic(Path(f"data/plots/{name}.csv"), points.to_csv(index=False, lineterminator="\n").encode())


if __name__ == "__main__":
    run(main)
