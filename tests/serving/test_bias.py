"""Corrections from the residuals of earlier measured batches, and the places of batches."""

import math
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from batchyield.plant.batch import Batch
from batchyield.plant.place import Place, find_place
from batchyield.plant.table import BATCHES_PER_DAY
from batchyield.serving.bias import BiasParams, BiasState, Residual

PARAMS = BiasParams(
    delay=0.0, memory=8.0, window=30, minimum=3, largest_age=20.0, shrinkage=3.0, same_recipe=6.0, same_line=2.0,
    cut=0.05, limit=0.02, calibration=20, narrowest=0.5, widest=1.5,
)  # fmt: skip
RECIPE = (False, False, 400.0)


def residual(at, error=0.01, recipe=RECIPE, line=0, batch=None):
    return Residual(batch or f"s_{at}", float(at), recipe, line, 0.9 + error, 0.9, 0.87, 0.93)


def state(*residuals, **changes):
    return BiasState("md5", 0.9, PARAMS._replace(**changes), residuals)


def correct(of, at=10, recipe=RECIPE, line=0, delay=0):
    return of.correct(Place(float(at), recipe, line), delay)


class TestCorrection:
    def test_mean(self):
        """The correction is the weighted mean of the residuals, shrunk towards 0."""
        found = correct(state(*(residual(at, 0.01, line=1) for at in (7, 8, 9)), shrinkage=1e-12))
        assert found.value == pytest.approx(0.01)
        weights = [6 * math.exp(-distance / 8) for distance in (3, 2, 1)]
        found = correct(state(*(residual(at, 0.01, line=1) for at in (7, 8, 9))))
        assert found.value == pytest.approx(0.01 * sum(weights) / (sum(weights) + 3), abs=1e-7)
        assert (found.batches, found.latest, found.limited) == (3, "s_9", False)

    def test_alike(self):
        """Residuals of the same recipe and of the same line count more."""
        mixed = state(residual(7, 0.01, line=0), residual(8, -0.01, line=1), residual(9, 0.0, (True, True, None)))
        assert correct(mixed, line=0).value > correct(mixed, line=2).value > correct(mixed, line=1).value
        recipes = state(residual(7, 0.01), residual(8, -0.01, (True, False, 380.0)), residual(9, 0.0, line=2))
        assert correct(recipes).value > 0 > correct(recipes, recipe=(True, False, 380.0)).value

    def test_too_few(self):
        """There is no correction from fewer residuals than the minimum."""
        assert correct(state(residual(8), residual(9))) is None

    def test_too_old(self):
        """There is no correction if the latest residual is older than the largest age."""
        some = state(*map(residual, range(5)))
        assert correct(some, 24)
        assert correct(some, 24.5) is None

    def test_later_batches(self):
        """Only residuals of earlier places count, and with a delay those of the batches right before do not."""
        many = state(*(residual(at, at / 1000) for at in range(20)))
        first = state(*(residual(at, at / 1000) for at in range(10)))
        assert correct(many, 10).value == correct(first, 10).value
        assert correct(many, 10).batches == 10
        assert correct(many, 12, delay=2).latest == "s_9"

    def test_window(self):
        """Only the last residuals of the window count."""
        assert correct(state(*map(residual, range(10)), window=4)).batches == 4

    def test_limits(self):
        """A single wrong measurement moves a prediction little, and no correction exceeds the limit."""
        good = [residual(at, 0.0) for at in range(9)]
        wrong = correct(state(*good, residual(9, -0.81)))  # 0.09 typed for 0.9
        assert -0.02 < wrong.value < 0
        bad = correct(state(*(residual(at, -0.81) for at in range(10))))
        assert (bad.value, bad.limited) == (-0.02, True)

    def test_apply(self):
        """A corrected prediction moves with its interval, and is rounded like all predictions."""
        found = replace(correct(state(*map(residual, range(10)))), scale=1.0)
        best, lower, upper = found.apply(0.9, 0.87, 0.93)
        assert best == round(0.9 + found.value, 7)
        assert (lower, upper) == (round(0.9 + found.value - 0.03, 7), round(0.9 + found.value + 0.03, 7))
        assert replace(found, value=0.3).apply(0.9, 0.87, 1.0) == (1.1, 1.1, 1.1)


class TestIntervals:
    def test_narrower(self):
        """Small residuals make the intervals narrower, large ones wider, each up to a limit; few leave them."""
        assert correct(state(*(residual(at, 0.001) for at in range(20))), 20).scale == 0.5
        assert correct(state(*(residual(at, (-1) ** at * 0.2) for at in range(20))), 20).scale == 1.5
        assert correct(state(*(residual(at, 0.001) for at in range(8)))).scale == 1.0

    def test_quantile(self):
        """The factor is the conformal quantile of those that the residuals needed."""
        errors = [(-1) ** at * 0.001 * at for at in range(20)]
        factor = correct(state(*(residual(at, error) for at, error in enumerate(errors)), memory=1e-9), 20).scale
        assert factor == pytest.approx(sorted(abs(error) / 0.03 for error in errors)[18])


class TestDigest:
    def test_order(self):
        """The digest does not depend on the order in which outcomes arrived, but on each of their values."""
        some = [residual(at) for at in range(5)]
        assert state(*some).digest == state(*reversed(some)).digest
        assert len({state(*some).digest, state(*some[1:]).digest, state(*some, limit=0.01).digest}) == 3
        assert state(*some[1:], residual(0, 0.011)).digest != state(*some).digest

    def test_decode(self):
        """A state read from its JSON has the same digest and gives the same corrections to the last digit."""
        made = state(*(residual(at, (at * 7919 % 40 - 20) / 1000, line=at % 3) for at in range(200)))
        read = BiasState.decode(made.encode())
        assert read.digest == made.digest
        assert [correct(read, at) for at in range(210)] == [correct(made, at) for at in range(210)]
        assert len(made.residuals) == PARAMS.window + PARAMS.calibration

    def test_cut_off(self):
        """What a state does not keep does not matter to the next batch."""
        many = [residual(at, (at * 7919 % 40 - 20) / 1000) for at in range(200)]
        kept = correct(state(*many), 200)
        assert kept == correct(BiasState("md5", 0.9, PARAMS, many, keep_all=True), 200)


class TestPlace:
    @pytest.mark.parametrize(
        ("batch", "at", "line"),
        [
            (Batch(id="sample_17"), 17, 2),
            (Batch(id="sample_17", sequence=30.0), 30, 0),
            (Batch(id="sample_17", started_at=datetime(1970, 1, 3, tzinfo=UTC)), 2 * BATCHES_PER_DAY, 2),
            (Batch(id="x", started_at=datetime(1970, 1, 3, tzinfo=UTC)), 2 * BATCHES_PER_DAY, -1),
            (Batch(sequence=4.0, started_at=datetime(1970, 1, 3, tzinfo=UTC)), 4, 1),
        ],
    )
    def test_order(self, batch, at, line):
        """The place comes from `sequence`, else from `started_at`, else from the number in the id."""
        assert find_place(batch) == Place(at, (True, True, None), line)

    @pytest.mark.parametrize("batch", [Batch(), Batch(id="A"), Batch(id="A", sequence=None, started_at=None)])
    def test_none(self, batch):
        """A batch without any of them has no place."""
        assert find_place(batch) is None

    def test_absent_fields(self):
        """Batches without the new fields are encoded as before."""
        assert b"sequence" not in msgspec.json.encode(Batch(id="sample_1"))
        assert b"started_at" not in msgspec.json.encode(Batch(id="sample_1"))
