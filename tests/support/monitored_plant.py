"""A plant whose journal is written directly, for the drift watcher and the report."""

from functools import cache

import msgspec
import numpy as np
from support.service import BIAS, batches, card, linear_onnx, make_checkout, pin

from batchyield.journal.bias_states import save_state
from batchyield.journal.insert import open_appender
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.outcomes import OutcomeSource, record_outcomes
from batchyield.journal.records import AnsweringModel, JournalEntry, split_request
from batchyield.plant.batch import READING_NAMES
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import FEATURES, INDEX, featurize
from batchyield.plant.simulator import simulate
from batchyield.plant.table import LINES
from batchyield.serving.artifact import canonical_json, golden_rows, write_artifact
from batchyield.serving.bias import BiasParams, BiasState, Residual
from batchyield.serving.outcomes import Outcome
from batchyield.serving.predictor import Predictor
from batchyield.serving.reference_profile import build_reference

MD5 = "a" * 32
START = 1_795_500_000_000_000  # 24 November 2026
MINUTES = 60_000_000


@cache
def plant():
    """Batches of one state of the plant, shuffled: those trained on, and those that come."""
    rows = read_sheet(simulate(rows=2000).csv()).batches
    order = np.random.default_rng(4).permutation(2000)
    shuffled = [rows[i] for i in order]
    return shuffled[:1200], shuffled[1200:]


@cache
def predictor():
    return Predictor(linear_onnx())


@cache
def trained():
    """The profile of the training batches, and a card with the true error."""
    rows, _ = plant()
    values = featurize(rows).values
    blank = {name: sum(getattr(row, name) is None for row in rows) / len(rows) for name in READING_NAMES}
    yields = np.array(
        [answer.yield_ for answer in predictor().predict(rows)]
    )  # as answered: rounded, levels stay levels
    names = [feature.name for feature in FEATURES]
    reference = build_reference(names, values, yields, blank, values[:, INDEX["id_number"]])
    return reference, card(metrics={"mae": 0.01}, rows=len(rows))


def coming(count, start=0, **changes):
    """The next batches, with readings changed by name: a value, or a function of the old one."""
    rows = plant()[1][start : start + count]
    changed_rows = []
    for number, row in enumerate(rows, start):
        changed = {name: how(getattr(row, name)) if callable(how) else how for name, how in changes.items()}
        changed_rows.append(msgspec.structs.replace(row, id=f"batch_{number}", **changed))
    return changed_rows


def raised(by):
    """A change of a number that leaves blanks blank."""
    return lambda value: None if value is None else value + by


def bias_state(md5=MD5, error=0.02, last=149, **changes):
    """A state of the bias update: measured batches up to the number `last`, each by so much above its prediction."""
    params = BiasParams(**({name: value for name, value in BIAS.items() if name != "kind"} | changes))
    at = range(last - 99, last + 1)
    residuals = [Residual(f"batch_{n}", n, (False,), n % LINES, 0.9 + error, 0.9, 0.87, 0.93) for n in at]
    return BiasState(md5, 0.9, params, residuals)


def journal(store, rows, md5=MD5, start=START, minutes=36, bias=None):
    """Predicts batches at even times and writes them to the journal, each as a request; the predictions.

    `bias` is the state of the bias update that corrects them; it is written to the journal, too.
    """
    ensure_schema(store)
    predictions = predictor().predict(rows)
    if bias:
        predictions = bias.correct_all(rows, predictions)
        save_state(store, bias.digest, bias.encode(), start)
    writer = open_appender(store)
    model = AnsweringModel("1.0.0", "1" * 40, md5)
    writer.append(
        [
            JournalEntry(
                start + n * minutes * MINUTES,
                f"request {n}",
                "plant",
                "json",
                model,
                *split_request([row], [prediction]),
            )
            for n, (row, prediction) in enumerate(zip(rows, predictions, strict=True))
        ]
    )
    writer.close()
    return predictions


def tell(store, predictions, error=0.0, spread=0.0125, seed=1):
    """Measured yields of predicted batches: off by normal errors, and by a constant."""
    errors = np.random.default_rng(seed).normal(error, spread, len(predictions))
    outcomes = [Outcome(p.id, round(p.yield_ + e, 6)) for p, e in zip(predictions, errors, strict=True)]
    record_outcomes(store, outcomes, OutcomeSource(START, "request-1", "laboratory"))


def make_plant(root):
    """A folder with a model whose profile is that of the plant, pinned."""
    make_checkout(root)
    reference, facts = trained()
    golden = golden_rows(linear_onnx(), batches(20))
    write_artifact(root / "data" / "model", linear_onnx(), facts, golden, canonical_json(reference))
    pin(root)
    return root
