"""Stage `train`: the artifact (ONNX model, card, golden rows, drift reference)."""

from importlib.metadata import version
from pathlib import Path

import msgspec

from batchyield.files import md5_of_path
from batchyield.modelling.card_metrics import CARD_METRICS, measure
from batchyield.modelling.onnx_export import check_parity, to_onnx
from batchyield.modelling.params import read_params
from batchyield.modelling.parquet import read_features, read_table, to_batches
from batchyield.modelling.train import train
from batchyield.pipeline import raw_data, run
from batchyield.plant.batch import READING_NAMES
from batchyield.plant.features import FEATURES, INDEX
from batchyield.serving.artifact import canonical_json, golden_rows, write_artifact
from batchyield.serving.prediction import Card
from batchyield.serving.reference_profile import PROFILE_DECIMALS, build_reference

LIBRARIES = ("numpy", "scipy", "scikit-learn", "onnx", "onnxruntime", "batchyield")
GOLDEN_ROWS = 20


def main() -> None:
    """Read the training part of `data/split/` and `data/features/`; write `data/model/`."""
    params = read_params()
    frame = read_table(Path("data/split/train.parquet"))
    values = read_features(Path("data/features/train.parquet"))
    yields = frame["yield"].to_numpy(dtype=float)
    trained = train(values, yields, params)
    onnx = to_onnx(trained)
    check_parity(onnx, trained, values)
    names = tuple(feature.name for feature in FEATURES)
    # Spread over the whole file, so that the self-test of the service covers every recipe and period.
    golden = golden_rows(onnx, to_batches(frame[:: max(1, len(frame) // GOLDEN_ROWS)][:GOLDEN_ROWS]))
    card = Card(
        name="yield-model",
        features=names,
        params={"model": msgspec.to_builtins(params.model), "features": msgspec.to_builtins(params.features)},
        data_md5=md5_of_path(raw_data()),
        versions={name: version(name) for name in LIBRARIES},
        metrics=measure(CARD_METRICS, yields, trained.out_of_fold),
        rows=len(frame),
        level=params.intervals.level,
    )
    blank = {name: round(float(frame[name].isna().mean()), PROFILE_DECIMALS) for name in READING_NAMES}
    profile = build_reference(names, values, trained.out_of_fold.yields, blank, values[:, INDEX["id_number"]])
    write_artifact(Path("data/model"), onnx, card, golden, canonical_json(profile))


if __name__ == "__main__":
    run(main)
