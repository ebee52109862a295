"""The model artifact: four files that are written together and opened only if their bytes are the pinned ones.

`model.onnx` is the model, `card.json` describes it, `golden.json` holds batches with the predictions they must get, and
`reference.json` is the profile that drift is measured against. Bytes are compared with their md5 before parsing.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from batchyield.errors import ArtifactError
from batchyield.files import md5_of, write_atomic
from batchyield.plant.batch import Batch
from batchyield.plant.features import INDEX
from batchyield.plant.other_schemas import fit_schema
from batchyield.plant.table import TARGET
from batchyield.serving.lockfile import read_lock
from batchyield.serving.prediction import Card, Prediction
from batchyield.serving.predictor import Predictor

MODEL, CARD, GOLDEN, REFERENCE = FILES = ("model.onnx", "card.json", "golden.json", "reference.json")

PREDICTION_TOLERANCE = 10.0 ** (TARGET.order - 6)
"""Largest difference between two predictions that count as equal: float32 rounding of another CPU."""

OTHER_CODE = "use the code of the commit that trained it, or run `dvc repro`"


class Golden(msgspec.Struct, frozen=True):
    """Batches and the predictions that the model made for them when it was trained."""

    batches: tuple[Batch, ...]
    predictions: tuple[Prediction, ...]


class _StoredGolden(msgspec.Struct, forbid_unknown_fields=True):
    batches: tuple[dict[str, Any], ...]  # of the schema of the code that trained the model
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Artifact:
    """An opened model whose bytes are the pinned ones and whose golden rows are predicted as recorded.

    `reference` holds the bytes of `reference.json`; `pins` maps file name to md5.
    """

    predictor: Predictor
    card: Card
    golden: Golden
    reference: bytes
    pins: Mapping[str, str]

    @property
    def md5(self) -> str:
        """Return the md5 of `model.onnx`."""
        return self.pins[MODEL]


def golden_rows(onnx: bytes, batches: Sequence[Batch]) -> Golden:
    """Return the batches with the model's predictions for them."""
    return Golden(tuple(batches), tuple(Predictor(onnx).predict(batches)))


def write_artifact(directory: Path, onnx: bytes, card: Card, golden: Golden, reference: bytes) -> None:
    """Write the four files atomically into a directory, created if missing; equal input gives equal bytes."""
    for name, data in zip(FILES, (onnx, canonical_json(card), canonical_json(golden), reference), strict=True):
        write_atomic(directory / name, data)


def canonical_json(value: object) -> bytes:
    """Return JSON with sorted keys, indented for a line diff, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"


def read_pins(lock: Path, directory: Path) -> dict[str, str]:
    """Return the md5 that dvc.lock pins for each of the artifact's files in `directory`: file name -> md5.

    Raises:
        ArtifactError: the lock is missing or unreadable, or does not pin one of the files.
    """
    outs = read_lock(lock).outs()
    pins = {}
    for name in FILES:
        # By name, without resolving links: DVC may link an output into its cache, and a folder may be mounted.
        path = Path(os.path.relpath(directory / name, lock.parent)).as_posix()
        if path not in outs:
            raise ArtifactError(
                str(lock), f"does not pin {path}", "name the folder that the `train` stage writes, or run `dvc repro`"
            )
        pins[name] = outs[path][1]
    return pins


def open_artifact(directory: Path, pins: Mapping[str, str]) -> Artifact:
    """Open a model after all checks: md5 of each file, features of the card, predictions of golden rows.

    A model of an earlier schema opens if this code computes all its features; its golden rows show that they still
    mean the same.

    Raises:
        ArtifactError: a check failed, or a file is missing.
    """
    content = {name: read_pinned_file(directory / name, pins.get(name)) for name in FILES}
    card = _decode(content[CARD], directory / CARD, Card)
    if unknown := [name for name in card.features if name not in INDEX]:
        problem = f"the model takes features that this code does not compute: {', '.join(unknown)}"
        raise ArtifactError(str(directory / CARD), problem, OTHER_CODE)
    stored = _decode(content[GOLDEN], directory / GOLDEN, _StoredGolden)
    golden = Golden(tuple(fit_schema(given)[0] for given in stored.batches), stored.predictions)
    predictor = Predictor(content[MODEL], str(directory / MODEL), card.features)
    _check_golden_rows(predictor, golden, directory / GOLDEN)
    return Artifact(predictor, card, golden, content[REFERENCE], {name: pins[name] for name in FILES})


def read_pinned_file(file: Path, pin: str | None) -> bytes:
    """Return the bytes of a file; raise ArtifactError if their md5 is not `pin`."""
    if pin is None:
        raise ArtifactError(str(file), "has no pin, so its bytes cannot be checked")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ArtifactError(str(file), f"cannot be read: {error.strerror}; the pin is md5 {pin}") from error
    if (actual := md5_of(data)) != pin:
        raise ArtifactError(str(file), f"is not the pinned file: expected md5 {pin}, found {actual}")
    return data


Decoded = TypeVar("Decoded", Card, _StoredGolden)


def _decode(data: bytes, file: Path, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ArtifactError(str(file), f"cannot be read by this code: {error}", OTHER_CODE) from error


def _check_golden_rows(predictor: Predictor, golden: Golden, file: Path) -> None:
    predictions = predictor.predict(golden.batches)
    if not predictions or len(predictions) != len(golden.predictions):
        rows = f"{len(predictions)} batches and {len(golden.predictions)} predictions"
        raise ArtifactError(str(file), f"holds {rows}; expected the same number of both, at least 1")
    differences = [
        max(abs(was.yield_ - now.yield_), abs(was.lower - now.lower), abs(was.upper - now.upper))
        for was, now in zip(golden.predictions, predictions, strict=True)
    ]
    worst = max(range(len(differences)), key=differences.__getitem__)
    if not differences[worst] <= PREDICTION_TOLERANCE:
        raise ArtifactError(
            str(file),
            f"golden rows are not predicted as recorded: row {worst} ({golden.batches[worst].id}) differs by "
            f"{differences[worst]:.3g}, more than {PREDICTION_TOLERANCE:g}",
            OTHER_CODE,
        )
