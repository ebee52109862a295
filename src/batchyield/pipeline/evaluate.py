"""Stage `evaluate`: metrics of the artifact on test batches with confidence intervals, and the points of the plots."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from batchyield.files import write_atomic
from batchyield.modelling import bias_evaluation, metrics
from batchyield.modelling.card_metrics import METRIC_DECIMALS
from batchyield.modelling.estimators import Matrix
from batchyield.modelling.params import Params, read_params
from batchyield.modelling.parquet import read_features, read_table, to_batches
from batchyield.modelling.train import Predictions
from batchyield.modelling.yield_model import draw_sample
from batchyield.parallel.engine import open_engine
from batchyield.parallel.tasks import Engine
from batchyield.pipeline import run
from batchyield.plant.features import featurize, id_number
from batchyield.plant.place import find_place
from batchyield.serving.artifact import canonical_json
from batchyield.serving.predictor import Predictor

IMPORTANCE_ROWS = 20
"""Most important features or groups in a plot."""

EFFECT_FEATURES = 6
"""Most important features with a partial dependence plot."""

LEARNING_SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
SHUFFLES = 5
FORWARD_SHARE = 0.2
"""Share of the training batches, the latest, on which the forward metrics are measured."""


def main() -> None:
    """Read `data/model/`, `data/split/` and `data/features/`; write `data/metrics/` and `data/plots/`."""
    params = read_params()
    with open_engine(params.engine) as engine:
        evaluate(params, engine)


def evaluate(params: Params, engine: Engine) -> None:
    """Write the metrics and the points of the plots; the engine runs what takes long, and changes no byte."""
    frame = read_table(Path("data/split/test.parquet"))
    values = read_features(Path("data/features/test.parquet"))
    measured = frame["yield"].to_numpy(dtype=float)
    onnx = Path("data/model/model.onnx").read_bytes()
    model, predict = Predictor(onnx), metrics.OpenedOnce(Predictor, onnx)

    def predict_columns(matrix: Matrix) -> Predictions:
        return Predictions(*(np.array(side) for side in model.predict_matrix(matrix)))

    answers = predict_columns(values)
    settings = params.evaluation
    write_metrics("test", metrics.in_file_units(metrics.compute_metrics(measured, answers)))
    confidence = metrics.bootstrap(measured, answers, settings.bootstrap, settings.confidence, settings.seed)
    write_metrics("confidence", metrics.estimates_in_file_units(confidence))
    labels = metrics.slice_labels(featurize(to_batches(frame)))
    parts = metrics.slice_metrics(measured, answers, labels)
    rows = [{"by": p.by, "label": p.label, "batches": p.rows, **metrics.in_file_units(p.figures)} for p in parts]
    write_plot("slices", rows)
    write_plot("predicted", {"id": frame["id"], "actual": measured, **answers._asdict()})
    residuals = (measured - answers.yields).round(METRIC_DECIMALS)
    points = pd.DataFrame({"batch": [id_number(name) for name in frame["id"]], "residual": residuals})
    some = draw_sample(len(frame), params.sample)
    write_plot("residuals", points.iloc[some].sort_values("batch", kind="stable"))

    for name, blocks in (("groups", metrics.group_blocks()), ("importance", metrics.feature_blocks())):
        lost = metrics.permutation_importance(
            predict, values[some], measured[some], blocks, SHUFFLES, settings.seed, engine
        )
        most = list(lost.items())[:IMPORTANCE_ROWS]
        write_plot(name, [{"what": what, **metrics.in_file_units({"score_lost": value})} for what, value in most])
    effects = metrics.partial_dependence(predict, values[some], list(lost)[:EFFECT_FEATURES])
    write_plot("effects", pd.DataFrame(effects, columns=["feature", "value", "yield"]))

    train_frame = read_table(Path("data/split/train.parquet"))
    train_yields = train_frame["yield"].to_numpy(dtype=float)
    train_values = read_features(Path("data/features/train.parquet"))
    some = draw_sample(len(train_frame), params.sample)
    folded = metrics.cross_validate(train_values[some], train_yields[some], params, engine)
    write_metrics("cross_validation", metrics.in_file_units(folded.figures | {"score_spread": folded.spread}))
    late = metrics.latest_rows(train_values, params.sample.batches)
    forward = metrics.evaluate_forward(train_values[late], train_yields[late], params, FORWARD_SHARE)
    if not forward:
        print("no forward metrics: too few ids end in a number that orders the batches by time", file=sys.stderr)
    write_metrics("forward", metrics.in_file_units(forward))
    places = [find_place(batch) for batch in to_batches(train_frame.iloc[late])]
    walk = bias_evaluation.walk_forward(train_values[late], train_yields[late], places, params, engine)
    for name, figures in walk.metrics().items():
        write_metrics(name, metrics.in_file_units(figures))
    write_plot("bias", pd.DataFrame(walk.mean_residuals(), columns=list(bias_evaluation.PLOT_COLUMNS)))
    curve = metrics.learning_curve(
        train_values[some], train_yields[some], values, measured, params, LEARNING_SHARES, engine
    )
    write_plot("learning", [{"batches": rows, **metrics.in_file_units({"score": f["score"]})} for rows, f in curve])


def write_metrics(name: str, figures: object) -> None:
    """Write metrics to `data/metrics/`, where DVC shows and compares them."""
    write_atomic(Path(f"data/metrics/{name}.json"), canonical_json(figures))


def write_plot(name: str, points: Any) -> None:
    """Write the points of one plot, rows or columns of a frame, to `data/plots/`."""
    text = pd.DataFrame(points).to_csv(index=False, lineterminator="\n")
    write_atomic(Path(f"data/plots/{name}.csv"), text.encode())


if __name__ == "__main__":
    run(main)
