"""Renders the drift report as one HTML file without scripts or external resources."""

from datetime import UTC, datetime
from functools import partial
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from batchyield.monitoring.drift_window import DriftVerdict
from batchyield.monitoring.report import charts, narrative
from batchyield.monitoring.report.collect import ReportData
from batchyield.monitoring.report.words import Language, Words

TEMPLATE = "page.html"
MAX_CHARTS = 12
"""Drifted readings with a chart; the table lists all."""


def render_page(data: ReportData, language: Language = "en") -> str:
    """Return the page in a language; equal data give equal bytes."""
    say = Words(language)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "percent": say.percent, "points": say.points, "predicted": say.predicted, "number": say.number,
        "duration": say.duration,
        "instant": lambda at_us: datetime.fromtimestamp(at_us / 1e6, UTC).strftime(say("%d %b %Y, %H:%M UTC")),
        "interval": say.interval, "count": say.count, "p": _p_value, "coded": _mark_code,
        "reading": say.reading, "feature": say.feature,
    }  # fmt: skip
    source = files("batchyield.monitoring.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    window, chart, live = data.findings.window, data.findings.chart, data.findings.live_error
    by_name = {comparison.reading.name: comparison for comparison in data.readings}
    drifted = [by_name[name] for name in window.drifted]
    return environment.from_string(source).render(
        data=data,
        window=window,
        live=live,
        language={"en": "en", "zh": "zh-CN"}[language],
        say=partial(_say, say),
        arrival_rate=data.findings.arrival_rate,
        chart=chart,
        card=data.artifact.card,
        summary=narrative.summarize(data, say),
        statements=narrative.list_statements(data, say),
        advice=narrative.list_advice(data, say),
        drifted=[
            (
                c,
                narrative.describe_reading(c, say),
                narrative.describe_chart(c, say),
                charts.distribution(c, say) if len(c.values) else None,
            )
            for c in drifted[:MAX_CHARTS]
        ],
        more_drifted=len(drifted[MAX_CHARTS:]),
        blanks=_list_blanks(data, say),
        control=charts.control_chart(chart, say) if chart and chart.points else None,
        points_out=sum(point.out for point in chart.points) if chart else 0,
        daily=charts.daily_counts(data.rows, say) if data.rows else None,
        error=charts.live_error(data.rows, live.mae_promised, say) if live.outcomes else None,
        DRIFTED=DriftVerdict.DRIFTED,
    )


def _say(words: Words, english: str, **values: object) -> Markup:
    """Return a text of the page, which may have markup of its own, with its values escaped."""
    return Markup(words.template(english)).format(target=words.target, targets=words.targets, **values)  # noqa: S704


def _list_blanks(data: ReportData, say: Words) -> list[tuple[str, str, float, float, bool]]:
    """Return the readings whose share of blanks changed by a point or more, largest change first."""
    rows = [
        (
            c.reading.name,
            say.reading(c.reading),
            c.drift.blank_trained,
            c.drift.blank,
            c.drift.verdict is DriftVerdict.DRIFTED,
        )
        for c in data.readings
        if abs(c.drift.blank - c.drift.blank_trained) >= 0.01
    ]
    return sorted(rows, key=lambda row: -abs(row[3] - row[2]))


def _mark_code(text: str) -> Markup:
    """Return the text with everything between backticks marked as code."""
    forms = Markup("{}"), Markup("<code>{}</code>")
    return Markup("").join(forms[n % 2].format(part) for n, part in enumerate(text.split("`")))


def _p_value(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
