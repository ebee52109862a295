"""The throttle of background threads."""

import time

import pytest

from batchyield.monitoring.throttle import CPU_SHARE, STEP_SECONDS, Throttle, no_throttle


class TestThrottle:
    def test_sleeps_after_each_step(self, monkeypatch):
        """It sleeps once a step of CPU time is used, in proportion to the time used."""
        used, sleeps = [0.0], []
        monkeypatch.setattr(time, "thread_time", lambda: used[0])
        throttle = Throttle(sleeps.append)
        for spent in (0.4 * STEP_SECONDS, 0.4 * STEP_SECONDS, 0.4 * STEP_SECONDS, 0.9 * STEP_SECONDS, 2 * STEP_SECONDS):
            used[0] += spent
            throttle()
        worked = [1.2 * STEP_SECONDS, 2.9 * STEP_SECONDS]
        assert sleeps == [pytest.approx(seconds * (1 - CPU_SHARE) / CPU_SHARE) for seconds in worked]

    def test_waiting_is_no_work(self):
        """Time spent waiting does not count."""
        sleeps = []
        throttle = Throttle(sleeps.append)
        time.sleep(0.002)
        throttle()
        no_throttle()
        assert sleeps == []
