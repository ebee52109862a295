"""The plant's file to the CSV of its predictions, by a model at hand: what the service answers, without the service."""

from collections.abc import Iterator
from typing import BinaryIO

from batchyield.errors import InputError
from batchyield.portions import MOST_BATCHES, of_file, violation_in_whole
from batchyield.predictor import Predictor
from batchyield.replies import CSV_HEADER, csv_of_predictions
from batchyield.sheet import read_sheet


def score(predictor: Predictor, file: BinaryIO, most: int = MOST_BATCHES) -> Iterator[bytes]:
    """Parts of `id,yield,lower,upper`, a line for each batch of the file, in its order.

    Args:
        predictor: the model.
        file: the plant's CSV, of any size.
        most: batches that are held at a time.

    Raises:
        InputError: the file cannot be read as batches.
    """
    for portion in of_file(file, most):
        try:
            sheet = read_sheet(portion.content)
        except InputError as error:
            raise InputError(*(violation_in_whole(v, portion.before) for v in error.violations)) from None
        lines = csv_of_predictions(predictor.predict(sheet.batches, sheet.warnings))
        yield lines.removeprefix(CSV_HEADER) if portion.before else lines
