"""The pinned model: four files that are written together and opened only if they are the pinned ones.

`model.onnx` answers, `card.json` says what it is, `golden.json` holds batches with the answers they must get, and
`reference.json` is the profile that drift is measured against, opaque here. Bytes are compared with their pin before
anything parses them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from batchyield.errors import ArtifactError
from batchyield.files import md5_of, write_atomic
from batchyield.plant.batch import Batch
from batchyield.plant.features import FEATURES
from batchyield.serving.lockfile import read_lock
from batchyield.serving.predictor import Predictor
from batchyield.serving.responses import Card, Prediction

MODEL, CARD, GOLDEN, REFERENCE = FILES = ("model.onnx", "card.json", "golden.json", "reference.json")

PREDICTION_TOLERANCE = 1e-6
"""Largest difference between equal predictions, as a yield: float32 on another CPU, and nothing more."""

OTHER_CODE = "use the code of the commit that trained it, or run `dvc repro`"


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batches and the answers that the model gave when it was made."""

    batches: tuple[Batch, ...]
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Artifact:
    """An opened model that is the pinned one and still answers as it did.

    Attributes:
        predictor: answers.
        card: what the model is.
        golden: the rows it was replayed on.
        reference: bytes of the drift profile.
        pins: file name -> md5, as pinned and as found.
    """

    predictor: Predictor
    card: Card
    golden: Golden
    reference: bytes
    pins: Mapping[str, str]

    @property
    def md5(self) -> str:
        """The model's own pin."""
        return self.pins[MODEL]


def golden_rows(onnx: bytes, batches: Sequence[Batch]) -> Golden:
    """Answers `batches` with the model that is about to be written.

    Raises:
        ArtifactError: the bytes are no such model, or answer with something that is not a number.
    """
    return Golden(tuple(batches), tuple(Predictor(onnx).predict(batches)))


def write_artifact(directory: Path, onnx: bytes, card: Card, golden: Golden, reference: bytes) -> None:
    """Writes the four files, each aside and then renamed; equal input gives equal bytes.

    Args:
        directory: where they go; made if missing.
        onnx: the model, from `export`.
        card: what the model is.
        golden: from `golden_rows`.
        reference: JSON bytes of the drift profile.
    """
    for name, data in (
        (MODEL, onnx),
        (CARD, canonical_json(card)),
        (GOLDEN, canonical_json(golden)),
        (REFERENCE, reference),
    ):
        write_atomic(directory / name, data)


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, indented for a diff, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"


def read_pins(lock: Path, directory: Path) -> dict[str, str]:
    """The md5 that `lock` pins for each of the artifact's files in `directory`: file name -> md5.

    Raises:
        ArtifactError: the lock is missing or unreadable, or pins none for a file.
    """
    outs = read_lock(lock).outs()
    pins = {}
    for name in FILES:
        # By name, not through links: DVC may link an output into its cache, and a folder may be mounted.
        path = Path(os.path.relpath(directory / name, lock.parent)).as_posix()
        if path not in outs:
            raise ArtifactError(
                str(lock), f"pins no output {path}", "name the folder that the `train` stage writes, or run `dvc repro`"
            )
        pins[name] = outs[path][1]
    return pins


def open_artifact(directory: Path, pins: Mapping[str, str]) -> Artifact:
    """Opens the model, having read each file once and checked everything that can be checked.

    Args:
        directory: holds the four files.
        pins: from `read_pins`.

    Raises:
        ArtifactError: a file is missing or is not the pinned one, the card names other features than this code
            makes, or a golden row is answered otherwise than recorded.
    """
    read = {name: _pinned_bytes(directory / name, pins.get(name)) for name in FILES}
    card = _decode(read[CARD], directory / CARD, Card)
    golden = _decode(read[GOLDEN], directory / GOLDEN, Golden)
    _check_features(card, directory / CARD)
    predictor = Predictor(read[MODEL], str(directory / MODEL))
    _replay(predictor, golden, directory / GOLDEN)
    return Artifact(predictor, card, golden, read[REFERENCE], {name: pins[name] for name in FILES})


def _pinned_bytes(file: Path, pin: str | None) -> bytes:
    if pin is None:
        raise ArtifactError(str(file), "has no pin, so nothing says which bytes it should hold")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ArtifactError(str(file), f"cannot be read: {error.strerror}; the pin is md5 {pin}") from error
    found = md5_of(data)
    if found != pin:
        raise ArtifactError(str(file), f"is not the pinned file: expected md5 {pin}, found {found}")
    return data


Decoded = TypeVar("Decoded", Card, Golden)


def _decode(data: bytes, file: Path, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ArtifactError(str(file), f"cannot be read by this code: {error}", OTHER_CODE) from error


def _check_features(card: Card, file: Path) -> None:
    ours = tuple(feature.name for feature in FEATURES)
    if card.features == ours:
        return
    missing, extra = sorted(set(card.features) - set(ours)), sorted(set(ours) - set(card.features))
    differ = f"only the model has {missing}, only this code has {extra}" if missing or extra else "in another order"
    raise ArtifactError(str(file), f"names other features than this code makes: {differ}", OTHER_CODE)


def _replay(predictor: Predictor, golden: Golden, file: Path) -> None:
    answers = predictor.predict(golden.batches)
    if not answers or len(answers) != len(golden.predictions):
        rows = f"{len(answers)} batches and {len(golden.predictions)} predictions"
        raise ArtifactError(str(file), f"holds {rows}; there must be some, and as many of one as of the other")
    differences = [_difference(was, now) for was, now in zip(golden.predictions, answers, strict=True)]
    worst = max(range(len(differences)), key=differences.__getitem__)
    if not differences[worst] <= PREDICTION_TOLERANCE:
        raise ArtifactError(
            str(file),
            f"is not answered as it was: row {worst} ({golden.batches[worst].id}) differs by {differences[worst]:.3g}, "
            f"more than {PREDICTION_TOLERANCE:g}",
            OTHER_CODE,
        )


def _difference(was: Prediction, now: Prediction) -> float:
    return max(abs(was.yield_ - now.yield_), abs(was.lower - now.lower), abs(was.upper - now.upper))
