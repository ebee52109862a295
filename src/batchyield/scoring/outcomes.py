"""Measured yields of batches in the files to score: they correct the predictions of later ones, as in the service."""

import csv
import io
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import msgspec

from batchyield.errors import ConfigError, InputError, Violation
from batchyield.plant.place import find_place
from batchyield.scoring.chunks import read_chunks, read_sheets_of
from batchyield.scoring.storage import open_file
from batchyield.serving.artifact import Artifact
from batchyield.serving.bias import BiasParams, BiasState, Residual
from batchyield.serving.outcomes import Outcome


def read_outcomes(path: Path) -> dict[str, float]:
    """Return the measured yields of a CSV `id,yield` or `id,yield,measured_at`, with its header, by the batch's id.

    Raises:
        ConfigError: the file cannot be read.
        InputError: a line is no outcome; of two lines for one batch, the last counts.
    """
    measured: dict[str, float] = {}
    with open_file(str(path)) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        reader = csv.DictReader(text)
        try:
            for row in reader:
                given = {name: cell for name, cell in row.items() if cell or name != "measured_at"}
                outcome = msgspec.convert(given, Outcome, strict=False)
                measured[outcome.id] = outcome.yield_
        except msgspec.ValidationError as error:
            raise InputError(
                Violation(f"{path}, line {reader.line_num}", f"{error}; expected id,yield[,measured_at]")
            ) from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"{path} cannot be read: {error}", "pass a CSV id,yield[,measured_at] in UTF-8") from None
    return measured


def measure_bias(
    artifact: Artifact, params: BiasParams, files: Sequence[Path], measured: dict[str, float]
) -> BiasState:
    """Return the state of the bias update from the batches of CSV files whose yields are known, by id.

    Raises:
        ConfigError: a file is no regular one, so that it cannot be read twice, or no batch is measured.
        InputError: a file cannot be read as batches.
    """
    if pipes := [path for path in files if path.exists() and not path.is_file()]:
        raise ConfigError(f"{pipes[0]} can be read only once", "with outcomes, pass regular files")
    residuals = []
    for sheet in chain.from_iterable(map(read_sheets_of, read_chunks(files))):
        batches = sheet.batches
        known = [(b, place, measured[b.id]) for b in batches if b.id in measured and (place := find_place(b))]
        made = artifact.predictor.predict([batch for batch, _, _ in known])
        residuals += [
            Residual.at_place(str(batch.id), place, actual, p.yield_, p.lower, p.upper)
            for (batch, place, actual), p in zip(known, made, strict=True)
        ]
    if not residuals:
        raise ConfigError("none of the outcomes is of a batch in the files", "use the same ids in both")
    return BiasState(artifact.md5, artifact.card.level, params, residuals, keep_all=True)
