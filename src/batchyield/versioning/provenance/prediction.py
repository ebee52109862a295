"""Trace a journalled prediction: the measured yields behind its correction, computed again, and its model."""

import re
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from batchyield.errors import ConfigError
from batchyield.files import md5_of
from batchyield.journal.bias_states import read_state
from batchyield.journal.database import Database
from batchyield.journal.queries import JournalledPrediction, read_answers, split_ids
from batchyield.journal.records import AnsweringModel, normalize_id
from batchyield.journal.tables import answer, asked, correction, outcome
from batchyield.plant.place import find_place
from batchyield.serving.bias import BiasState, Residual
from batchyield.serving.prediction import Prediction
from batchyield.serving.predictor import Predictor


class PredictionTrace(msgspec.Struct, frozen=True):
    """A journalled prediction with what it was computed from.

    Attributes:
        asked: the argument.
        used: measured batches behind the correction, in the plant's order.
        differences: where the numbers computed again, or the outcomes of the journal, differ from the answer.
        notes: what could not be checked.
    """

    asked: str
    request: str
    position: int
    batch: str | None
    pin: AnsweringModel
    prediction: Prediction
    used: tuple[Residual, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]


def trace_prediction(name: str, database: Database, model: Path) -> PredictionTrace | None:
    """Trace a request's prediction (`REQUEST`, or `REQUEST/POSITION`), or the newest one of a batch id.

    Args:
        name, database: what to trace, in the journal.
        model: file of a model; if its bytes are those of the model that answered, it predicts the batch again.

    Returns:
        The trace, or None if the journal has no such prediction.
    """
    with database.read_transaction() as connection:
        row = _find(connection, name)
        if row is None:
            return None
        return check_prediction(connection, name, row, _open_model(model, row.pin.md5))


def check_prediction(
    connection: Connection, name: str, row: JournalledPrediction, predictor: Predictor | None
) -> PredictionTrace:
    """Compute a journalled prediction again from its state of the bias update, and compare to the last digit."""
    made, notes, differences = row.prediction, [], []
    used: tuple[Residual, ...] = ()
    alone = None
    if predictor is None:
        notes.append("the model's file is not here, so the prediction of the model alone was not repeated")
    else:
        (alone,) = predictor.predict([row.batch])
    if isinstance(made.bias, msgspec.UnsetType):
        if alone and (alone.yield_, alone.lower, alone.upper) != (made.yield_, made.lower, made.upper):
            differences.append(f"the model predicts {alone.yield_}, and the answer has {made.yield_}")
        return _result(name, row, used, differences, notes)
    content = read_state(connection, made.bias.digest)
    if content is None:
        differences.append(f"the journal has no state {made.bias.digest}; it may have been pruned")
        return _result(name, row, used, differences, notes)
    state = BiasState.decode(content)
    if state.digest != made.bias.digest:
        differences.append(f"the content of the state {made.bias.digest} has the digest {state.digest}")
    place = find_place(row.batch)
    found = state.correct(place) if place else None
    if place is None or found is None:
        differences.append("the state gives no correction for this batch")
        return _result(name, row, used, differences, notes)
    used = tuple(residual for residual in state.residuals if residual.at < place.at)[-found.batches :]
    answered = (made.bias.value, made.bias.batches, made.bias.latest)
    if answered != (found.value, found.batches, found.latest):
        differences.append(f"computed again: {found.value} from {found.batches} batches up to {found.latest}")
    if alone is not None:
        again = (alone.yield_, *found.apply(alone.yield_, alone.lower, alone.upper))
        if again != (made.unbiased, made.yield_, made.lower, made.upper):
            differences.append(f"computed again: unbiased, yield, lower, upper = {again}")
    differences += _unreported(connection, used)
    return _result(name, row, used, differences, notes)


def _result(
    name: str, row: JournalledPrediction, used: tuple[Residual, ...], differences: list[str], notes: list[str]
) -> PredictionTrace:
    id_, made = row.batch.id, row.prediction
    return PredictionTrace(name, row.request, row.position, id_, row.pin, made, used, tuple(differences), tuple(notes))


def _find(connection: Connection, name: str) -> JournalledPrediction | None:
    request, position = name, None
    if match := re.fullmatch(r"(.+)/(\d+)", name):
        request, position = match[1], int(match[2])
    rows: list[JournalledPrediction] = []
    for candidate, at in ((name, None), (request, position)):
        ids = connection.execute(select(answer.c.id).where(answer.c.request == candidate)).scalars().all()
        rows = [row for row in read_answers(connection, ids) if at in (None, row.position)]
        if rows:
            break
    if len(rows) > 1:
        raise ConfigError(f"the request {name} holds {len(rows)} predictions", f"name one: {name}/0, {name}/1, …")
    if rows:
        return rows[0]
    query = select(asked.c.answer, asked.c.position).where(asked.c.batch == normalize_id(name))
    newest = connection.execute(query.order_by(asked.c.answer.desc(), asked.c.position.desc()).limit(1)).one_or_none()
    found = read_answers(connection, [newest[0]]) if newest else []
    return next((row for row in found if newest and row.position == newest[1]), None)


def _open_model(file: Path, md5: str) -> Predictor | None:
    try:
        data = file.read_bytes()
    except OSError:
        return None
    return Predictor(data, str(file)) if md5_of(data) == md5 else None


def _unreported(connection: Connection, used: tuple[Residual, ...]) -> list[str]:
    """Return a sentence for each yield of a state that was never reported for its batch."""
    reported: set[tuple[str, float]] = set()
    for table in (outcome, correction):
        for some in split_ids(normalize_id(residual.batch) for residual in used):
            query = select(table.c.batch, table.c["yield"]).where(table.c.batch.in_(some))
            reported |= {(row[0], row[1]) for row in connection.execute(query)}
    return [
        f"the journal has no report of {residual.measured} for {residual.batch}"
        for residual in used
        if (normalize_id(residual.batch), residual.measured) not in reported
    ]


def render(found: PredictionTrace) -> str:
    """Return the trace as text."""
    made = found.prediction
    lines = [
        f"{found.asked}: batch {found.batch}, position {found.position} of request {found.request}",
        f"  yield {made.yield_}, interval {made.lower} to {made.upper}, model {found.pin.md5}",
    ]
    if not isinstance(made.bias, msgspec.UnsetType):
        lines.append(f"  {made.unbiased} of the model, {made.bias.value:+} from measured yields {made.bias.digest}")
        lines += ["", "measured batches, in the plant's order: measured, predicted by the model, difference"]
        lines += [f"  {r.batch}  {r.measured}  {r.predicted}  {r.measured - r.predicted:+.5f}" for r in found.used]
    lines += ["", *(f"DIFFERS: {difference}" for difference in found.differences), *found.notes]
    if not found.differences:
        lines.append("computed again: the same to the last digit")
    return "\n".join(lines)
