"""The last look as gauges for Prometheus: what cannot be said now has no series now."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.monitoring.drift_watcher import DriftSnapshot
from batchyield.monitoring.arrival_rate import ArrivalRate
from batchyield.monitoring.control_chart import ControlChart
from batchyield.monitoring.drift_window import DriftVerdict, PredictionDrift, WindowDrift
from batchyield.monitoring.live_error import EstimateWithLimits, LiveError

Told = tuple[str, str, float | bool | None]


class DriftGauges(Collector):
    """Reads the last look whenever Prometheus asks.

    Args:
        found: the last look at the model that answers now; None where there is none.
        enabled: whether there will be any.
    """

    def __init__(self, found: Callable[[], DriftSnapshot | None], enabled: bool) -> None:
        self._found, self._enabled = found, enabled

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All families, and of each the series that can be said."""
        yield _family("batchyield_watch_enabled", "whether the journal is watched", self._enabled)
        look = self._found() if self._enabled else None
        if look is None:
            return
        yield _family("batchyield_watch_last_success_timestamp_seconds", "end of the last pass", look.at)
        yield _family("batchyield_watch_seconds", "how long it took", look.seconds)
        found = look.findings
        for told in (
            *_window(found.window, found.arrival_rate),
            *_prediction(found.window.prediction),
            *_chart(found.chart),
            *_frequency(found.arrival_rate),
            *_live(found.live_error),
        ):
            yield _family(*told)
        yield from _readings(found.window)


def _family(name: str, about: str, value: float | bool | None) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=None if value is None else float(value))


def _verdict(verdict: DriftVerdict) -> bool | None:
    return None if verdict is DriftVerdict.TOO_FEW else verdict is DriftVerdict.DRIFTED


def _window(shift: WindowDrift, times: ArrivalRate | None) -> Iterator[Told]:
    told = shift.batches >= shift.needed
    name = "batchyield_drift_window"
    yield f"{name}_batches", "distinct batches in the window", shift.batches
    yield f"{name}_needed", "batches before there is a verdict", shift.needed
    start, end = (times.since / 1e6, times.until / 1e6) if times else (None, None)
    yield f"{name}_start_timestamp_seconds", "answer to the window's oldest batch", start
    yield f"{name}_end_timestamp_seconds", "answer to the window's newest batch", end
    yield "batchyield_drift_readings", "readings that drifted", len(shift.drifted) if told else None


def _readings(shift: WindowDrift) -> Iterator[GaugeMetricFamily]:
    blank = [one.blank if shift.batches else None for one in shift.readings]
    for name, about, values in (
        ("verdict", "1 drifted, 0 steady", [_verdict(one.verdict) for one in shift.readings]),
        ("psi", "population stability index", [one.psi for one in shift.readings]),
        ("ks", "Kolmogorov-Smirnov distance", [one.ks for one in shift.readings]),
        ("moved", "mean less that of the training, in its deviations", [one.moved for one in shift.readings]),
        ("p", "chance of as much in a steady plant, all readings tested", [one.p for one in shift.readings]),
        ("blank_share", "share of batches without it", blank),
        ("blank_share_reference", "the same in the training", [one.blank_trained for one in shift.readings]),
        ("new_share", "share of new values", [one.new if one.blank < 1 else None for one in shift.readings]),
    ):
        family = GaugeMetricFamily(f"batchyield_drift_{name}", about, labels=("reading",))
        for reading, value in zip(shift.readings, values, strict=True):
            if value is not None:
                family.add_metric((reading.reading,), float(value))
        yield family


def _prediction(shift: PredictionDrift) -> Iterator[Told]:
    name = "batchyield_prediction"
    yield f"{name}_mean", "mean predicted yield of the window", shift.mean
    yield f"{name}_mean_reference", "the same in the training", shift.mean_trained
    yield f"{name}_z", "their difference in standard errors", shift.z
    yield f"{name}_psi", "population stability index", shift.psi
    yield f"{name}_ks", "Kolmogorov-Smirnov distance", shift.ks
    yield f"{name}_drifted", "1 drifted, 0 steady", _verdict(shift.verdict)


def _chart(chart: ControlChart | None) -> Iterator[Told]:
    if chart is None:
        return
    newest = chart.points[-1] if chart.points else None
    name = "batchyield_chart"
    yield f"{name}_mean", "mean of the newest subgroup", newest.mean if newest else None
    yield f"{name}_average", "moving average up to it", newest.average if newest else None
    yield f"{name}_center", "mean of the subgroups in the training", chart.center
    yield f"{name}_lower", "lower limit of a subgroup's mean", chart.lower
    yield f"{name}_upper", "upper limit of a subgroup's mean", chart.upper
    yield f"{name}_out", "1 where the newest point is beyond a limit", newest.out if newest else None


def _frequency(times: ArrivalRate | None) -> Iterator[Told]:
    if times is None:
        return
    name = "batchyield_frequency"
    yield f"{name}_per_day", "batches a day over the window", times.per_day
    yield f"{name}_longest_gap_seconds", "longest time between two answers in it", times.longest_gap_seconds
    yield f"{name}_dispersion", "variance over mean of the counts", times.dispersion


def _live(live: LiveError) -> Iterator[Told]:
    name = "batchyield_live"
    yield "batchyield_outcomes_window", "batches with prediction and measured yield", live.outcomes
    yield "batchyield_outcomes_needed", "of them before there is a verdict", live.needed
    yield f"{name}_mae", "mean absolute error", _value(live.mae)
    yield f"{name}_mae_reference", "what the model's card promises", live.mae_promised
    yield f"{name}_bias", "mean of answered less measured yield", _value(live.bias)
    yield f"{name}_coverage", "share of measured yields within their interval", _value(live.coverage)
    yield f"{name}_coverage_lower", "lower 95 % limit of that share", live.coverage.lower if live.coverage else None
    yield f"{name}_coverage_upper", "upper 95 % limit of that share", live.coverage.upper if live.coverage else None
    yield "batchyield_coverage_level", "share that the intervals are to hold", live.level
    yield f"{name}_verdict", "1 worse than promised, 0 as promised", _verdict(live.verdict)


def _value(estimate: EstimateWithLimits | None) -> float | None:
    return estimate.value if estimate else None
