"""The last drift snapshot as Prometheus gauges; a figure that is unknown now has no series now."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.monitoring.drift_watcher import DriftSnapshot
from batchyield.monitoring.bias_findings import BiasFindings
from batchyield.monitoring.drift_window import DriftVerdict, WindowDrift
from batchyield.monitoring.findings import Findings


class DriftGauges(Collector):
    """Reads the last snapshot of the model in service whenever Prometheus scrapes."""

    def __init__(self, last: Callable[[], DriftSnapshot | None], enabled: bool) -> None:
        self._last, self._enabled = last, enabled

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield all families, each with the series that are known."""
        yield _family("batchyield_watch_enabled", "whether the journal is watched", self._enabled)
        snapshot = self._last() if self._enabled else None
        if snapshot is None:
            return
        yield _family("batchyield_watch_last_success_timestamp_seconds", "end of the last check", snapshot.at)
        yield _family("batchyield_watch_seconds", "its duration", snapshot.seconds)
        yield from (_family(*gauge) for gauge in _gauges(snapshot.findings))
        yield from _bias(snapshot.findings.bias)
        yield from _readings(snapshot.findings.window)


def _family(name: str, about: str, value: float | bool | None) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=None if value is None else float(value))


def _verdict(verdict: DriftVerdict) -> bool | None:
    return None if verdict is DriftVerdict.TOO_FEW else verdict is DriftVerdict.DRIFTED


def _gauges(findings: Findings) -> Iterator[tuple[str, str, float | bool | None]]:
    """Yield the name, the description and the value of each gauge without labels."""
    window, chart, rate, live = findings.window, findings.chart, findings.arrival_rate, findings.live_error
    start, end = (rate.since / 1e6, rate.until / 1e6) if rate else (None, None)
    name = "batchyield_drift_window"
    yield f"{name}_batches", "distinct batches in the window", window.batches
    yield f"{name}_needed", "batches before there is a verdict", window.needed
    yield f"{name}_start_timestamp_seconds", "time of the window's oldest prediction", start
    yield f"{name}_end_timestamp_seconds", "time of the window's newest prediction", end
    drifted = len(window.drifted) if window.batches >= window.needed else None
    yield "batchyield_drift_readings", "readings that drifted", drifted
    name, prediction = "batchyield_prediction", window.prediction
    yield f"{name}_mean", "mean prediction of the window", prediction.mean
    yield f"{name}_mean_reference", "the same in the training data", prediction.mean_trained
    yield f"{name}_z", "their difference in standard errors", prediction.z
    yield f"{name}_psi", "population stability index", prediction.psi
    yield f"{name}_ks", "Kolmogorov-Smirnov distance", prediction.ks
    yield f"{name}_drifted", "1 drifted, 0 steady", _verdict(prediction.verdict)
    if chart is not None:
        name, newest = "batchyield_chart", chart.points[-1] if chart.points else None
        yield f"{name}_mean", "mean of the newest subgroup", newest.mean if newest else None
        yield f"{name}_average", "moving average up to it", newest.average if newest else None
        yield f"{name}_center", "mean of the subgroups in the training", chart.center
        yield f"{name}_lower", "lower limit of a subgroup's mean", chart.lower
        yield f"{name}_upper", "upper limit of a subgroup's mean", chart.upper
        yield f"{name}_out", "1 if the newest point is beyond a limit", newest.out if newest else None
    if rate is not None:
        name = "batchyield_frequency"
        yield f"{name}_per_day", "batches a day over the window", rate.per_day
        yield f"{name}_longest_gap_seconds", "longest time between two predictions in it", rate.longest_gap_seconds
        yield f"{name}_dispersion", "variance over mean of the counts", rate.dispersion
    name, coverage = "batchyield_live", live.coverage
    yield "batchyield_outcomes_window", "batches with prediction and outcome", live.outcomes
    yield "batchyield_outcomes_needed", "of them before there is a verdict", live.needed
    yield f"{name}_mae", "mean absolute error", live.mae.value if live.mae else None
    yield f"{name}_mae_reference", "mean absolute error on the model's card", live.mae_promised
    yield f"{name}_mae_alone", "the same without bias update", live.mae_alone.value if live.mae_alone else None
    yield f"{name}_bias", "mean of predicted minus measured", live.bias.value if live.bias else None
    yield f"{name}_bias_alone", "the same without bias update", live.bias_alone.value if live.bias_alone else None
    yield f"{name}_coverage", "share of outcomes within their interval", coverage.value if coverage else None
    yield f"{name}_coverage_lower", "lower 95 % limit of that share", coverage.lower if coverage else None
    yield f"{name}_coverage_upper", "upper 95 % limit of that share", coverage.upper if coverage else None
    yield "batchyield_coverage_level", "intended coverage of the intervals", live.level
    yield f"{name}_verdict", "1 worse than the card, 0 as on the card", _verdict(live.verdict)


def _bias(bias: BiasFindings | None) -> Iterator[GaugeMetricFamily]:
    for name, about, field in (
        ("corrected_share", "share of the newest batches with a correction", "corrected"),
        ("limited_share", "share of the newest batches whose correction is at the limit", "limited"),
        ("limit", "largest correction", "limit"),
        ("outcomes", "measured batches that the next correction uses, at most", "outcomes"),
        ("age_batches", "batches from the last measured one to the newest", "age"),
        ("largest_age_batches", "age from which predictions are not corrected", "largest_age"),
    ):
        yield _family(f"batchyield_bias_{name}", about, getattr(bias, field, None))
    family = GaugeMetricFamily("batchyield_bias_correction", "newest correction of each line", labels=("line",))
    for one in bias.lines if bias else ():
        family.add_metric((str(one.line),), one.value)
    yield family


def _readings(drift: WindowDrift) -> Iterator[GaugeMetricFamily]:
    blank = [reading.blank if drift.batches else None for reading in drift.readings]
    new = [reading.new if reading.blank < 1 else None for reading in drift.readings]
    for name, about, values in (
        ("verdict", "1 drifted, 0 steady", [_verdict(reading.verdict) for reading in drift.readings]),
        ("psi", "population stability index", [reading.psi for reading in drift.readings]),
        ("ks", "Kolmogorov-Smirnov distance", [reading.ks for reading in drift.readings]),
        ("moved", "mean minus that of training, in standard deviations", [reading.moved for reading in drift.readings]),
        ("p", "p-value, corrected for testing all readings", [reading.p for reading in drift.readings]),
        ("blank_share", "share of batches without it", blank),
        ("blank_share_reference", "the same in training", [reading.blank_trained for reading in drift.readings]),
        ("new_share", "share of new values", new),
    ):
        family = GaugeMetricFamily(f"batchyield_drift_{name}", about, labels=("reading",))
        for reading, value in zip(drift.readings, values, strict=True):
            if value is not None:
                family.add_metric((reading.reading,), float(value))
        yield family
