"""Work in small steps: a rest after each, by the thread's own time."""

import time

import pytest

from batchyield.monitoring.throttle import CPU_SHARE, STEP_SECONDS, Throttle, no_throttle


def test_a_steps_work_is_rested_from_and_less_is_not(monkeypatch):
    worked, rests = [0.0], []
    monkeypatch.setattr(time, "thread_time", lambda: worked[0])
    pace = Throttle(rests.append)
    for spent in (0.4 * STEP_SECONDS, 0.4 * STEP_SECONDS, 0.4 * STEP_SECONDS, 0.9 * STEP_SECONDS, 2 * STEP_SECONDS):
        worked[0] += spent
        pace()
    shares = [1.2 * STEP_SECONDS, 2.9 * STEP_SECONDS]
    assert rests == [pytest.approx(share * (1 - CPU_SHARE) / CPU_SHARE) for share in shares]


def test_waiting_is_no_work():
    rests = []
    pace = Throttle(rests.append)
    time.sleep(0.002)
    pace()
    no_throttle()
    assert rests == []
