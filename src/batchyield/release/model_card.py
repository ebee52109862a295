"""Model card of a revision as Markdown: purpose, pin, metrics, training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from batchyield.errors import ArtifactError, ConfigError
from batchyield.plant.table import TARGET
from batchyield.review.report.markdown import table
from batchyield.serving.artifact import CARD, MODEL
from batchyield.serving.deployment.model_store import read_deployment
from batchyield.serving.prediction import Card as Facts
from batchyield.versioning.lock_diff import flatten
from batchyield.versioning.provenance.lineage import read_raw_object
from batchyield.versioning.revisions import read_text_at

METRICS = {
    "cross_validation": "cross-validation",
    "test": "test batches",
    "forward": "later batches than it was trained on",
}
"""Files of `data/metrics/`, and the batches that each is measured on."""

UNMEASURED = "Nothing was measured at that commit."


def read_metrics(revision: str, root: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of a commit: file of `data/metrics/` -> metric -> value, without missing files."""
    metrics = {}
    for name in METRICS:
        path = f"data/metrics/{name}.json"
        if text := read_text_at(revision, path, root):
            try:
                metrics[name] = msgspec.json.decode(text, type=dict[str, float])
            except msgspec.MsgspecError as error:
                raise ArtifactError(
                    f"{revision[:12]}:{path}", f"has no metrics: {error}", "name another revision"
                ) from error
    return metrics


def render_card(revision: str, root: Path, folder: Path) -> str:
    """Return the model card of a commit, whose model is in `folder`; the same commit gives the same text.

    Raises:
        ConfigError: this code cannot parse the card of that commit.
    """
    try:
        facts = msgspec.json.decode((folder / CARD).read_bytes(), type=Facts)
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"{CARD} of {revision[:12]} cannot be read: {error}", "use the code of the commit that trained it"
        ) from error
    pinned = read_deployment(folder).pins
    raw = read_raw_object(revision, root)
    lines = [
        f"# {facts.name}",
        "",
        f"Predicts for a batch the {TARGET.stored}, from its readings, with an interval that should contain "
        f"{facts.level:.0%} of the outcomes. It is fitted to one plant's batches and is not valid for another plant. "
        "It also answers readings outside its training range, so watch the drift that the service reports.",
        "",
        "## Pin",
        "",
        *pin_table(pinned, facts.data_md5),
        f"Commit `{revision}`; `batchyield pin trace {pinned[MODEL]}` lists all its inputs, "
        f"`batchyield pin verify --rev {revision[:12]}` rebuilds it.",
        *([f"Raw data: `{raw.url}`, {f'ETag `{raw.etag}`, ' if raw.etag else ''}{raw.size} bytes."] if raw else []),
        "",
        "## Measured",
        "",
        *_measured(revision, root),
        "## Training",
        "",
        f"{facts.rows} batches, {len(facts.features)} features.",
        "",
        *table(("parameter", "value"), [(k, _value(v)) for k, v in flatten(facts.params).items() if v is not None]),
        "## Libraries",
        "",
        ", ".join(f"{name} {version}" for name, version in sorted(facts.versions.items())),
    ]
    return "\n".join(lines) + "\n"


def pin_table(files: Mapping[str, str], raw: str) -> list[str]:
    """Return the Markdown table of the md5 of each of the model's files and of the raw data."""
    return table(("file", "md5"), [(name, f"`{md5}`") for name, md5 in (*files.items(), ("raw data", raw)) if md5])


def _measured(revision: str, root: Path) -> list[str]:
    metrics = read_metrics(revision, root)
    if not metrics:
        return [UNMEASURED, ""]
    confidence = _confidence(revision, root)
    head = [METRICS[file] for file in metrics] + ([f"{_level(revision, root)} of test resamples"] if confidence else [])
    rows = []
    for name in sorted({name for figures in metrics.values() for name in figures}):
        cells = [format_metric(figures.get(name)) for figures in metrics.values()]
        if confidence:
            between = confidence.get(name)
            cells.append(f"{format_metric(between.low)} to {format_metric(between.high)}" if between else "")
        rows.append([name, *cells])
    return table(("figure", *head), rows)


class _Between(msgspec.Struct):
    low: float
    high: float


def _confidence(revision: str, root: Path) -> dict[str, _Between]:
    text = read_text_at(revision, "data/metrics/confidence.json", root)
    try:
        return msgspec.json.decode(text, type=dict[str, _Between]) if text else {}
    except msgspec.MsgspecError:  # another format at that commit; the metrics are shown without intervals
        return {}


def _level(revision: str, root: Path) -> str:
    try:
        params = msgspec.yaml.decode(read_text_at(revision, "params.yaml", root) or "")
        return f"{params['evaluation']['confidence']:.0%}"
    except (msgspec.MsgspecError, KeyError, TypeError):
        return "most"


def format_metric(value: float | None) -> str:
    """Return a metric for a table; empty if there is none."""
    return "" if value is None else f"{value:.4g}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
