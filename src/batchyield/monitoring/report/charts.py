"""Charts of the drift report as inline SVG in the colours of the page, light or dark; `say` has its words."""

import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from markupsafe import Markup
from numpy.typing import NDArray

from batchyield.journal.queries import JournalledPrediction
from batchyield.monitoring.arrival_rate import DAY_US
from batchyield.monitoring.control_chart import ControlChart
from batchyield.monitoring.report.collect import ReadingComparison
from batchyield.monitoring.report.words import Words
from batchyield.plant.table import TARGET

BINS = 24
MAX_LEVELS = 12
"""Up to so many distinct values, each gets its own bar."""

WIDTH, HEIGHT = 660, 190
SMALL = 300, 120
LIVE_GROUP_BATCHES = 25
FORMAT = f".{max(0, 3 - TARGET.order)}f"
"""Of axes of the target."""

COLOURS = ("ink", "faint", "grid", "trained", "now", "alarm")
INK, FAINT, GRID, TRAINED, NOW, ALARM = (f"var(--{name})" for name in COLOURS)
FONT = "system-ui, sans-serif"
LAYERS = (("trained", TRAINED), ("now", NOW))


def distribution(comparison: ReadingComparison, say: Words) -> Markup:
    """Return bars of a reading's distribution: training behind, window in front."""
    quantiles = np.array(comparison.profile.quantiles)
    levels = np.unique(np.round(np.concatenate([quantiles, comparison.values]), 4))
    title, share_title = say.axis(comparison.feature), say("share of batches")
    if len(levels) <= MAX_LEVELS:
        trained, now = (
            _shares((np.round(part, 4)[:, None] == levels).sum(axis=0), part) for part in (quantiles, comparison.values)
        )
        rows = [
            {"value": f"{level:g}", "place": place, "trained": t, "now": n}
            for place, (level, t, n) in enumerate(zip(levels.tolist(), trained, now, strict=True))
        ]
        x = alt.X("value:N", title=title, sort=[f"{level:g}" for level in levels.tolist()], axis=alt.Axis(labelAngle=0))
        sizes: tuple[Any, Any] = (alt.RelativeBandSize(0.8), alt.RelativeBandSize(0.35))
        bars = [
            _bars(rows, x, None, share, colour, share_title, width=size)
            for (share, colour), size in zip(LAYERS, sizes, strict=True)
        ]
        return _svg(alt.layer(*bars), *SMALL)
    # From quantiles, because typing errors would leave the rest no room.
    least, most = np.quantile(np.concatenate([quantiles, comparison.values]), (0.005, 0.995))
    edges = np.linspace(least, max(most, least + 1e-6), BINS + 1)
    trained, now = (_shares(np.histogram(part, edges)[0], part) for part in (quantiles, comparison.values))
    rows = [
        {"from": low, "to": high, "inner": low + 0.25 * (high - low), "outer": high - 0.25 * (high - low)}
        | {"trained": t, "now": n}
        for low, high, t, n in zip(edges[:-1].tolist(), edges[1:].tolist(), trained, now, strict=True)
    ]
    x = alt.X("from:Q", title=title, scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(tickCount=6))
    behind = _bars(rows, x, "to", *LAYERS[0], share_title)
    front = _bars(rows, x.copy(), "outer", *LAYERS[1], share_title, start="inner")
    return _svg(alt.layer(behind, front), *SMALL)


def control_chart(chart: ControlChart, say: Words) -> Markup:
    """Return the control chart: subgroup means, their moving average, limits."""
    points = [{"group": n, "mean": p.mean, "average": p.average, "out": p.out} for n, p in enumerate(chart.points, 1)]
    base = alt.Chart(alt.InlineData(points))
    scale = alt.Scale(zero=False, padding=8)
    predicted = say("mean predicted {stored}", stored=say.stored_target)
    y = alt.Y("mean:Q", title=predicted, scale=scale, axis=alt.Axis(format=FORMAT))
    groups = say("groups of {size} batches, oldest first", size=chart.size)
    x = alt.X("group:Q", title=groups, axis=_integer_axis(len(points)))
    lines = [
        *(_rule(chart.lower, ALARM, [5, 4]), _rule(chart.upper, ALARM, [5, 4]), _rule(chart.center, FAINT, [])),
        base.mark_line(color=TRAINED, strokeWidth=2.5).encode(x=x, y=alt.Y("average:Q", title="", scale=scale)),
        base.mark_line(color=NOW, strokeWidth=1.2).encode(x=x, y=y),
        base.transform_filter("!datum.out").mark_circle(color=NOW, size=42, opacity=1).encode(x=x, y=y),
        base.transform_filter("datum.out")
        .mark_point(shape="triangle-up", color=ALARM, filled=True, size=95, opacity=1)
        .encode(x=x, y=y),
    ]
    return _svg(alt.layer(*lines), WIDTH, HEIGHT)


def daily_counts(rows: Sequence[JournalledPrediction], say: Words) -> Markup:
    """Return bars of the batches answered per day, UTC."""
    days = np.array([row.at // DAY_US for row in rows])
    counts = np.bincount(days - days[0])
    # In milliseconds, as the time axis expects.
    data = [
        {"from": int(days[0] + n) * 86_400_000, "to": int(days[0] + n + 1) * 86_400_000, "count": int(count)}
        for n, count in enumerate(counts.tolist())
    ]
    most = max(row["count"] for row in data)
    step = {"interval": "day", "step": max(1, -(-len(data) // 8))}
    axis = alt.Axis(format=say("%d %b"), tickCount=step if len(data) > 2 else len(data), labelOverlap=True)
    bars = (
        alt.Chart(alt.InlineData(data))
        .mark_bar(color=NOW, stroke="var(--paper)", strokeWidth=1)
        .encode(
            x=alt.X("from:T", title=say("day (UTC)"), scale=alt.Scale(type="utc"), axis=axis),
            x2="to:T",
            y2=alt.datum(0),
            y=alt.Y("count:Q", title=say("batches"), axis=_integer_axis(most, 0)),
        )
    )
    return _svg(bars, WIDTH, 130)


def live_error(rows: Sequence[JournalledPrediction], promised: float | None, say: Words) -> Markup:
    """Return the mean absolute error of groups of measured batches, with the card's promise."""
    errors = [abs(row.prediction.yield_ - row.measured) for row in rows if row.measured is not None]
    groups = [errors[start : start + LIVE_GROUP_BATCHES] for start in range(0, len(errors), LIVE_GROUP_BATCHES)]
    data = [{"group": n, "mae": float(np.mean(group))} for n, group in enumerate(groups, 1)]
    base = alt.Chart(alt.InlineData(data))
    title = say("groups of {size} measured batches, oldest first", size=LIVE_GROUP_BATCHES)
    x = alt.X("group:Q", title=title, axis=_integer_axis(len(data)))
    error = say("mean absolute error")
    y = alt.Y("mae:Q", title=error, scale=alt.Scale(zero=True), axis=alt.Axis(format=FORMAT))
    marks = [
        base.mark_line(color=NOW, strokeWidth=1.2).encode(x=x, y=y),
        base.mark_circle(color=NOW, size=42, opacity=1).encode(x=x, y=y),
    ]
    if promised is not None:
        marks.append(_rule(promised, ALARM, [5, 4]))
    return _svg(alt.layer(*marks), WIDTH, 150)


def _bars(
    rows: Any, x: Any, to: str | None, share: str, colour: str, title: str, start: str = "", width: Any = None
) -> Any:
    y = alt.Y(f"{share}:Q", title=title, axis=alt.Axis(format=".0%", tickCount=4))
    mark = {"color": colour} | ({"width": width} if width is not None else {})
    encoded: dict[str, Any] = {"x": x, "y": y, "y2": alt.datum(0)}  # without it, bars over ranges have no base
    if start:
        x.shorthand = f"{start}:Q"
    if to:
        encoded["x2"] = f"{to}:Q"
    return alt.Chart(alt.InlineData(rows)).mark_bar(**mark).encode(**encoded)


def _rule(at: float, colour: str, dash: list[int]) -> Any:
    return alt.Chart(alt.InlineData([{"at": at}])).mark_rule(color=colour, strokeDash=dash).encode(y="at:Q")


def _integer_axis(most: int, least: int = 1) -> alt.Axis:
    step = max(1, -(-most // 8))
    return alt.Axis(format="d", values=list(range(least, most + step, step)), grid=False)


def _shares(counts: NDArray[np.integer], values: NDArray[np.float64]) -> list[float]:
    return [round(share, 6) for share in (counts / max(1, len(values))).tolist()]


def _svg(chart: Any, width: int, height: int) -> Markup:
    axis = {
        "labelColor": INK, "titleColor": INK, "gridColor": GRID, "domainColor": FAINT, "tickColor": FAINT,
        "labelFont": FONT, "titleFont": FONT, "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal",
        "titlePadding": 12,
    }  # fmt: skip
    spec = chart.properties(width=width, height=height, background="transparent").to_dict()
    spec["config"] = {"view": {"stroke": None}, "axis": axis, "font": FONT}
    svg = str(vl_convert.vegalite_to_svg(spec))
    # Hidden from screen readers, which read the label of the figure instead.
    svg = re.sub(r' (role|aria-[a-z]+)="[^"]*"', "", svg)
    svg = svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    return Markup(svg)  # noqa: S704 - generated from numbers and from names in the code
