"""What a worker does: it takes a model only by its pin, says what it answers with, and answers parts."""

import hashlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchyield.artifact import FILES, open_files, read_files
from batchyield.errors import BatchyieldError, SetupError
from batchyield.predictor import Predictor
from batchyield.replies import csv_of_predictions
from batchyield.scale.cluster import SAME
from batchyield.scoring import Part, lines_of

CODE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Shipped:
    """A model on its way to workers; two are equal if their pins are.

    Attributes:
        pins: (file name, md5) of each of its files.
        files: file name -> bytes; whoever gets them compares them with the pins.
    """

    pins: tuple[tuple[str, str], ...]
    files: Mapping[str, bytes] = field(compare=False, repr=False)


class Member(msgspec.Struct, frozen=True):
    """What decides the bytes of an answer, in one process.

    Attributes:
        model: md5 of the model.
        code: md5 of batchyield's modules.
        numpy: its version.
        onnxruntime: its version.
        distributed: its version.
        answers: md5 of the answers to the model's golden batches, to the last digit: another CPU may round otherwise.
    """

    model: str
    code: str
    numpy: str
    onnxruntime: str
    distributed: str
    answers: str

    def unlike(self, other: "Member") -> str:
        """What of `other` is not as here, for people; empty where they are alike."""
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in self.__struct_fields__)
        return ", ".join(f"{name} {theirs} and not {ours}" for name, ours, theirs in pairs if ours != theirs)


class Ready(NamedTuple):
    """An opened model, and with what it is opened."""

    predictor: Predictor
    member: Member


class UnlikeError(SetupError):
    """Workers that would not answer as the client does.

    Attributes:
        workers: the address of each -> what differs, or what it lacks.
    """

    def __init__(self, workers: Mapping[str, str]) -> None:
        self.workers = dict(workers)
        told = "\n".join(f"  {address}: {what}" for address, what in sorted(workers.items()))
        super().__init__(f"not every worker answers as this client does:\n{told}", SAME)


def ship(directory: Path, pins: Mapping[str, str]) -> Shipped:
    """Takes a model from its folder.

    Args:
        directory: holds the four files.
        pins: from `read_pins`.

    Raises:
        ArtifactError: a file cannot be read.
    """
    return Shipped(tuple((name, pins[name]) for name in FILES if name in pins), read_files(directory, pins))


@lru_cache(maxsize=4)
def ready(shipped: Shipped) -> Ready:
    """Opens a model, once in a process.

    Raises:
        ArtifactError: its bytes are not the pinned ones, or it does not answer as it did when it was made.
    """
    artifact = open_files(shipped.files, dict(shipped.pins), Path("shipped"))
    golden = csv_of_predictions(artifact.predictor.predict(artifact.golden.batches))
    return Ready(
        artifact.predictor,
        Member(
            model=artifact.md5,
            code=_code(),
            **{name: version(name) for name in ("numpy", "onnxruntime", "distributed")},
            answers=hashlib.md5(golden, usedforsecurity=False).hexdigest(),
        ),
    )


def described(shipped: Shipped) -> Member | BatchyieldError:
    """With what this worker would answer; an error is returned and not raised, as by `answer`."""
    try:
        return ready(shipped).member
    except BatchyieldError as error:
        return error


def answer(shipped: Shipped, expected: Member, part: Part) -> bytes | BatchyieldError:
    """The lines of a part, or why there are none: Dask logs what is raised, and does not always deliver it.

    Args:
        shipped: the model.
        expected: the client itself. A worker that came later than the first check is held against it here.
        part: what to answer.
    """
    from distributed import get_worker

    try:
        here = ready(shipped)
        if differs := expected.unlike(here.member):
            return UnlikeError({get_worker().address: differs})
        return lines_of(here.predictor, part)
    except BatchyieldError as error:
        return error
    except Exception as error:
        traceback.print_exc()
        return SetupError(
            f"{part.file}, a batch after number {part.portion.before}: the worker {get_worker().address} failed with "
            f"{type(error).__name__}: {error}",
            "this should not happen: its log has the traceback",
        )


def _code() -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(CODE.rglob("*.py")):
        digest.update(path.relative_to(CODE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
