"""Findings: the batches that are read from the journal, live error, arrival rate."""

import random

import msgspec
import numpy as np
import pytest
from support.journal_database import database, opened
from support.monitored_plant import MD5, MINUTES, START, bias_state, coming, journal, predictor, raised, tell, trained

from batchyield.errors import DatabaseUnavailableError
from batchyield.journal.database import Database, locate_journal
from batchyield.journal.insert import open_appender
from batchyield.journal.migrate import ensure_schema
from batchyield.journal.outcomes import OutcomeSource, record_outcomes, withdraw_outcome
from batchyield.journal.queries import count_by_model
from batchyield.journal.records import AnsweringModel, JournalEntry, split_request
from batchyield.monitoring import recent_batches as journal_recent
from batchyield.monitoring.arrival_rate import DAY_US, HOUR_US, compute_arrival_rate
from batchyield.monitoring.drift_window import DriftVerdict
from batchyield.monitoring.findings import read_findings
from batchyield.monitoring.live_error import MIN_OUTCOMES, Z_95, compute_live_error, wilson_interval
from batchyield.monitoring.recent_batches import read_recent_batches
from batchyield.plant.place import find_place
from batchyield.serving.outcomes import Outcome


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


def test_recent_batches(store):
    """The newest batches of one model are read, each once, within limit, times and horizon."""
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


def test_measured_batches(store):
    """With `measured`, only batches with a measured yield are read."""
    predictions = journal(store, coming(8))
    tell(store, predictions[2:4])
    assert names(read_recent_batches(store, MD5, 100, measured=True)) == ["batch_2", "batch_3"]


def test_measured_batches_by_either_search(store, monkeypatch):
    """Measured batches are the same whether their outcomes or the predictions are searched."""
    draw = random.Random(5)  # noqa: S311 - a journal, not a secret
    ensure_schema(store)
    entries = []
    for number in range(80):
        asked = draw.choices(coming(40), k=draw.choice((1, 1, 2, 7)))
        if draw.random() < 0.3:
            asked[0] = msgspec.structs.replace(asked[0], id=None)
        # Times repeat, and a restored answer is older than those with a lower id.
        source = (START + draw.randrange(40) * MINUTES, f"request {number}", "plant", "json")
        model = AnsweringModel("1.0.0", "1" * 40, draw.choice((MD5, MD5, "b" * 32)))
        entries.append(JournalEntry(*source, model, *split_request(asked, predictor().predict(asked))))
    appender = open_appender(store)
    appender.append(entries)
    appender.close()
    for number in range(20):
        reported = [Outcome(f"batch_{at}", draw.uniform(0.8, 1)) for at in draw.sample(range(50), 3)]
        record_outcomes(store, reported, OutcomeSource(START + number, "request-1", ""))
        if number % 4 == 0:
            withdraw_outcome(store, reported[0].id)
    found = 0
    for limit in (1, 5, 100):
        for horizon in (None, 1, 8, 30, 75, 10_000):
            for since, until in ((None, None), (START + 7 * MINUTES, START + 30 * MINUTES), (START * 2, None)):
                searched = []
                for most in (0, 10_000):
                    monkeypatch.setattr(journal_recent, "MAX_OUTCOMES", most)
                    searched.append(read_recent_batches(store, MD5, limit, since, until, True, horizon))
                assert searched[0] == searched[1]
                found += len(searched[0])
    assert found > 200


def test_repeated_batches(store, monkeypatch):
    """Repeated predictions of a batch do not hide older batches."""
    monkeypatch.setattr(journal_recent, "STEP_BATCHES", 4)
    journal(store, coming(4))
    for again in range(3):
        journal(store, coming(2, start=4), start=START + (again + 4) * 1000 * MINUTES)
    assert names(read_recent_batches(store, MD5, 2)) == ["batch_4", "batch_5"]
    assert names(read_recent_batches(store, MD5, 5)) == ["batch_1", "batch_2", "batch_3", "batch_4", "batch_5"]
    assert names(read_recent_batches(store, MD5, 5, horizon=6)) == ["batch_4", "batch_5"]


def test_read_findings(store):
    """A changed reading, the measured yields and the control chart are in the findings."""
    reference, card = trained()
    tell(store, journal(store, coming(200, B14=raised(-40))))
    found = read_findings(store, MD5, reference, card)
    assert found.window.batches == found.live_error.outcomes == 200
    assert "B14" in found.window.drifted
    assert not found.chart.in_control


def test_outcomes_that_arrive_meanwhile(store):
    """An outcome that arrives between the two reads counts with its yield, not as a NaN."""
    reference, card = trained()
    late = journal(store, coming(60))
    tell(store, late[:1])

    def pause():
        if late:  # one more outcome at each pause
            tell(store, [late.pop()])

    live = read_findings(store, MD5, reference, card, pause=pause).live_error
    assert live.outcomes > 1
    assert all(np.isfinite(figure.value) for figure in (live.mae, live.bias, live.coverage))


def test_bias_update(store):
    """The error with and without bias update, and the corrections of the newest batches."""
    reference, card = trained()
    bias = bias_state()
    predictions = journal(store, coming(60, 130), bias=bias)
    tell(store, [one.alone() for one in predictions], error=0.02, spread=0.001)
    found = read_findings(store, MD5, reference, card)
    assert found.live_error.bias_alone.value == pytest.approx(-0.02, abs=0.001)
    assert found.live_error.mae_alone.value == pytest.approx(0.02, abs=0.001)
    assert found.live_error.mae.value < found.live_error.mae_alone.value
    made = found.bias
    assert (made.batches, made.corrected, made.limited, made.outcomes) == (bias.params.window, 1.0, 0.0, 30)
    assert made.age == 189 - 149
    newest = {
        place.line: one.bias.value for one, place in zip(predictions, map(find_place, coming(60, 130)), strict=True)
    }
    assert {one.line: one.value for one in made.lines} == newest


def test_bias_at_limit(store):
    """Corrections at the limit are counted; a state of another model says nothing about this one."""
    journal(store, coming(40, 150), bias=bias_state(error=0.05, limit=0.001))
    assert read_findings(store, MD5, *trained()).bias.limited == 1.0
    assert read_findings(store, "b" * 32, *trained()).bias is None


def test_stale_outcomes(store):
    """Batches that come too long after the last measured one have no correction, and the age says so."""
    journal(store, coming(40, 150), bias=bias_state(last=50))
    made = read_findings(store, MD5, *trained()).bias
    assert (made.corrected, made.limited, made.lines) == (0.0, 0.0, ())
    assert made.age == 139 > made.largest_age


def test_missing_journal(tmp_path):
    """A missing journal is unavailable and is not created."""
    store = Database(locate_journal(str(tmp_path / "none.sqlite"), "", None))
    with pytest.raises(DatabaseUnavailableError, match="there is no journal at"):
        read_findings(store, MD5, *trained())
    assert not list(tmp_path.iterdir())


def errors(count, off=0.0, spread=0.0125, seed=1):
    """Arguments of `compute_live_error`; the mean absolute error is 0.8 times the spread."""
    answered = np.full(count, 0.92)
    measured = answered - np.random.default_rng(seed).normal(off, spread, count)
    return measured, answered, answered - 0.0206, answered + 0.0206, {"mae": 0.01}, 0.9


class TestLiveError:
    @pytest.mark.parametrize(
        ("arguments", "worse"),
        [
            (errors(400), ()),
            (errors(MIN_OUTCOMES - 1, 0.05), ()),
            (errors(400, 0.006), ("bias",)),
            (errors(400, 0.0, 0.02), ("mae", "coverage")),
            (errors(400, 0.03), ("mae", "bias", "coverage")),
        ],
    )
    def test_worse_figures(self, arguments, worse):
        """The figures that are worse than promised are named; below the minimum there is no verdict."""
        live = compute_live_error(*arguments)
        assert live.worse == worse
        expected = DriftVerdict.DRIFTED if worse else DriftVerdict.STEADY
        assert live.verdict is (expected if len(arguments[0]) >= MIN_OUTCOMES else DriftVerdict.TOO_FEW)

    def test_false_alarms(self):
        """A model that keeps its promise is called worse in at most 1 % of windows."""
        alarms = [bool(compute_live_error(*errors(100, seed=seed)).worse) for seed in range(500)]
        assert np.mean(alarms) <= 0.01

    def test_card_without_error(self):
        """Without a promised error only the coverage is judged."""
        measured, predicted, lower, upper, _, level = errors(400, 0.0, 0.02)
        assert compute_live_error(measured, predicted, lower, upper, {}, level).worse == ("coverage",)

    def test_wilson_interval(self):
        """The limits are those of Newcombe 1998, table I."""
        for hits, n, lower, upper in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
            limits = wilson_interval(hits, n, Z_95)
            assert (round(limits.lower, 4), round(limits.upper, 4)) == (lower, upper)


class TestArrivalRate:
    def test_hours_days_and_gaps(self):
        """Short windows are counted by the hour, long ones by the day; gaps and empty days are found."""
        hourly = compute_arrival_rate(START + np.arange(0, 49) * (HOUR_US // 2))
        assert (hourly.unit, hourly.low, hourly.median, hourly.high, hourly.empty) == ("hour", 2, 2, 2, 0)
        assert hourly.per_day == 48
        assert hourly.dispersion == 0
        at = START + np.concatenate([np.arange(0, 41) * HOUR_US, 7 * DAY_US + np.arange(0, 24) * HOUR_US])
        daily = compute_arrival_rate(at)
        assert daily.unit == "day"
        assert daily.longest_gap_seconds == (7 * DAY_US - 40 * HOUR_US) / 1e6
        assert daily.empty == 5
        assert daily.dispersion > 5

    @pytest.mark.parametrize("count", [1, 5])
    def test_no_duration(self, count):
        """Batches that all came at once have no rate."""
        rate = compute_arrival_rate(np.full(count, START))
        assert rate.per_day is rate.median is rate.dispersion is None
        assert rate.longest_gap_seconds == 0
