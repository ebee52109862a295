"""Live error, frequency, and which rows of the journal a look is at."""

import numpy as np
import pytest
from support.journal_database import database, opened
from support.monitored_plant import MD5, MINUTES, START, coming, journal, raised, tell, trained

from batchyield.errors import DatabaseUnavailableError
from batchyield.journal.database import Database, locate_journal
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.queries import count_by_model
from batchyield.monitoring import recent_batches as journal_recent
from batchyield.monitoring.arrival_rate import DAY_US, HOUR_US, compute_arrival_rate
from batchyield.monitoring.drift_window import DriftVerdict
from batchyield.monitoring.findings import read_findings
from batchyield.monitoring.live_error import MIN_OUTCOMES, Z_95, compute_live_error, wilson_interval
from batchyield.monitoring.recent_batches import read_recent_batches


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    if request.param == "sqlite":
        with opened(tmp_path / "journal.sqlite") as made:
            ensure_schema(made)
            yield made
        return
    with database(request.getfixturevalue("postgres_server")) as url, opened(url) as made:
        yield made


def names(rows):
    return [row.batch.id for row in rows]


def test_the_newest_batches_of_one_model_each_once(store):
    journal(store, coming(6))
    journal(store, coming(4, 10), md5="b" * 32, start=START + 1000 * MINUTES)
    again = journal(store, coming(2, B14=raised(-9)), start=START + 2000 * MINUTES)
    nameless = coming(2, 20)
    for row in nameless:
        row.id = None
    journal(store, nameless, start=START + 3000 * MINUTES)
    rows = read_recent_batches(store, MD5, 100)
    assert names(rows) == ["batch_2", "batch_3", "batch_4", "batch_5", "batch_0", "batch_1", None, None]
    assert [row.prediction.yield_ for row in rows[4:6]] == [one.yield_ for one in again]
    assert names(read_recent_batches(store, MD5, 3)) == ["batch_1", None, None]
    assert names(read_recent_batches(store, MD5, 9, until=START + 100 * MINUTES)) == ["batch_0", "batch_1", "batch_2"]
    assert names(read_recent_batches(store, MD5, 9, horizon=3)) == ["batch_1", None, None]
    assert names(read_recent_batches(store, "c" * 32, 9)) == []
    with store.read_transaction() as connection:
        counts = [(model.md5, model.predictions) for model in count_by_model(connection)]
    assert counts == [(MD5, 10), ("b" * 32, 4)]


def test_measured_batches_alone(store):
    predictions = journal(store, coming(8))
    tell(store, predictions[2:4])
    assert names(read_recent_batches(store, MD5, 100, measured=True)) == ["batch_2", "batch_3"]


def test_batches_that_come_again_and_again_do_not_hide_older_ones(store, monkeypatch):
    monkeypatch.setattr(journal_recent, "STEP_BATCHES", 4)
    journal(store, coming(4))
    for again in range(3):
        journal(store, coming(2, start=4), start=START + (again + 4) * 1000 * MINUTES)
    assert names(read_recent_batches(store, MD5, 2)) == ["batch_4", "batch_5"]
    assert names(read_recent_batches(store, MD5, 5)) == ["batch_1", "batch_2", "batch_3", "batch_4", "batch_5"]
    assert names(read_recent_batches(store, MD5, 5, horizon=6)) == ["batch_4", "batch_5"]


def test_a_look_finds_what_moved(store):
    reference, card = trained()
    tell(store, journal(store, coming(200, B14=raised(-40))))
    found = read_findings(store, MD5, reference, card)
    assert found.window.batches == found.live_error.outcomes == 200
    assert "B14" in found.window.drifted
    assert not found.chart.in_control


def test_outcomes_that_arrive_during_a_look(store):
    """An outcome that arrives between the two reads of a look counts with its yield, not as a NaN."""
    reference, card = trained()
    late = journal(store, coming(60))
    tell(store, late[:1])

    def pause():
        if late:  # one more outcome at each pause of the look
            tell(store, [late.pop()])

    live = read_findings(store, MD5, reference, card, pause=pause).live_error
    assert live.outcomes > 1
    assert all(np.isfinite(figure.value) for figure in (live.mae, live.bias, live.coverage))


def test_a_journal_that_is_not_there_is_away_and_not_made(tmp_path):
    store = Database(locate_journal(str(tmp_path / "none.sqlite"), "", None))
    with pytest.raises(DatabaseUnavailableError, match="there is no journal at"):
        read_findings(store, MD5, *trained())
    assert not list(tmp_path.iterdir())


def errors(count, off=0.0, spread=0.0125, seed=1):
    """Yields that are answered, and what is measured: a mean absolute error of 0.8 spreads."""
    answered = np.full(count, 0.92)
    measured = answered - np.random.default_rng(seed).normal(off, spread, count)
    return measured, answered, answered - 0.0206, answered + 0.0206, {"mae": 0.01}, 0.9


@pytest.mark.parametrize(
    ("given", "worse"),
    [
        (errors(400), ()),
        (errors(MIN_OUTCOMES - 1, 0.05), ()),
        (errors(400, 0.006), ("bias",)),
        (errors(400, 0.0, 0.02), ("mae", "coverage")),
        (errors(400, 0.03), ("mae", "bias", "coverage")),
    ],
)
def test_what_is_worse_than_promised_is_named(given, worse):
    found = compute_live_error(*given)
    assert found.worse == worse
    told = len(given[0]) >= MIN_OUTCOMES
    assert found.verdict is (
        DriftVerdict.TOO_FEW if not told else DriftVerdict.DRIFTED if worse else DriftVerdict.STEADY
    )


def test_a_model_that_holds_its_promise_is_seldom_blamed():
    blamed = [bool(compute_live_error(*errors(100, seed=seed)).worse) for seed in range(500)]
    assert np.mean(blamed) <= 0.01


def test_a_card_that_promises_no_error_is_judged_by_its_intervals():
    measured, answered, lower, upper, _, level = errors(400, 0.0, 0.02)
    assert compute_live_error(measured, answered, lower, upper, {}, level).worse == ("coverage",)


def test_wilsons_limits_are_those_of_the_book():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20.
    for hits, n, lower, upper in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        found = wilson_interval(hits, n, Z_95)
        assert (round(found.lower, 4), round(found.upper, 4)) == (lower, upper)


def test_frequency_counts_hours_days_and_gaps():
    hourly = compute_arrival_rate(START + np.arange(0, 49) * (HOUR_US // 2))
    assert (hourly.unit, hourly.low, hourly.median, hourly.high, hourly.empty) == ("hour", 2, 2, 2, 0)
    assert hourly.per_day == 48
    assert hourly.dispersion == 0
    at = START + np.concatenate([np.arange(0, 41) * HOUR_US, 7 * DAY_US + np.arange(0, 24) * HOUR_US])
    broken = compute_arrival_rate(at)
    assert broken.unit == "day"
    assert broken.longest_gap_seconds == (7 * DAY_US - 40 * HOUR_US) / 1e6
    assert broken.empty == 5
    assert broken.dispersion > 5


@pytest.mark.parametrize("count", [1, 5])
def test_what_came_at_once_has_no_frequency(count):
    found = compute_arrival_rate(np.full(count, START))
    assert found.per_day is found.median is found.dispersion is None
    assert found.longest_gap_seconds == 0
