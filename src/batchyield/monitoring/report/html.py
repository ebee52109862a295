"""The report as one HTML file that needs nothing else: no network, no script."""

from datetime import UTC, datetime
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from batchyield.monitoring.drift_window import DriftVerdict
from batchyield.monitoring.report import charts, narrative
from batchyield.monitoring.report.collect import ReportData

TEMPLATE = "page.html"
MAX_CHARTS = 12
"""Readings that get a picture; the table has them all."""


def render_page(found: ReportData) -> str:
    """The whole page; the same journal gives the same bytes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "percent": narrative.percent, "points": narrative.points, "number": narrative.number, "instant": _instant,
        "interval": narrative.interval, "count": narrative.count, "p": _p, "coded": _coded,
    }  # fmt: skip
    template = environment.from_string(
        files("batchyield.monitoring.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    )
    window, chart = found.findings.window, found.findings.chart
    by_name = {moved.reading.name: moved for moved in found.readings}
    drifted = [by_name[name] for name in window.drifted]
    measured = found.findings.live_error.outcomes
    return template.render(
        found=found,
        window=window,
        live=found.findings.live_error,
        frequency=found.findings.arrival_rate,
        chart=chart,
        card=found.artifact.card,
        headline=narrative.summarize(found),
        statements=narrative.list_statements(found),
        advice=narrative.list_advice(found),
        moved=[
            (
                one,
                narrative.describe_reading(one),
                narrative.describe_chart(one),
                _picture(charts.distribution(one)) if len(one.values) else None,
            )
            for one in drifted[:MAX_CHARTS]
        ],
        unshown=len(drifted[MAX_CHARTS:]),
        blanks=_blanks(found),
        control=_picture(charts.control_chart(chart)) if chart and chart.points else None,
        beyond=sum(point.out for point in chart.points) if chart else 0,
        daily=_picture(charts.daily_counts(found.rows)) if found.rows else None,
        error=_picture(charts.live_error(found.rows, found.findings.live_error.mae_promised)) if measured else None,
        untold=window.batches < window.needed,
        DRIFTED=DriftVerdict.DRIFTED,
        STEADY=DriftVerdict.STEADY,
    )


def _blanks(found: ReportData) -> list[tuple[str, str, float, float, bool]]:
    """Readings that come blank more often or less often than in the training, the greatest difference first."""
    rows = [(m.reading, m.shift) for m in found.readings if abs(m.shift.blank - m.shift.blank_trained) >= 0.01]
    rows.sort(key=lambda row: -abs(row[1].blank - row[1].blank_trained))
    return [
        (reading.name, reading.description, shift.blank_trained, shift.blank, shift.verdict is DriftVerdict.DRIFTED)
        for reading, shift in rows
    ]


def _picture(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 - drawn here, of numbers and of names in the code


def _coded(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        part if n % 2 == 0 else Markup("<code>{}</code>").format(part) for n, part in enumerate(parts)
    )


def _instant(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%d %b %Y, %H:%M UTC")


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
