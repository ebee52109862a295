"""Writes the unit and the scale of the target into the dashboard and the alerts of the model.

The files in `monitoring/` are complete without this code; it rewrites only what depends on the plant's table.
"""

import json
import re
from pathlib import Path

from batchyield.errors import ConfigError
from batchyield.files import write_atomic
from batchyield.plant.rows import Target
from batchyield.plant.table import READINGS, TARGET

DASHBOARD = Path("monitoring/grafana/dashboards/model.json")
RULES = Path("monitoring/prometheus/rules/model.yml")

IN_TARGET_UNIT = re.compile(
    r"batchyield_(prediction_mean|chart_|predicted_yield|interval_width|live_mae|live_bias|bias_correction|bias_limit\b|shadow_(moved|difference|largest))"
)
"""Metrics whose values are in the unit of the target."""


_FORM = r'(?:humanizePercentage|printf "[^"]*")'


def shift_limit(target: Target) -> float:
    """Return the shift of a mean that matters: a third of the target's scale."""
    return float(f"{target.scale / 3:.2g}")


def many_readings(readings: int) -> int:
    """Return how many drifted readings are many: a quarter of all."""
    return max(2, round(readings / 4))


def dashboard(text: str, target: Target, readings: int) -> str:
    """Return the dashboard with the target's unit in each panel of its values, and with the limits."""
    limit = shift_limit(target)
    unit = "percentunit" if target.is_fraction else f"suffix: {target.unit}" if target.unit else "none"
    panels = re.split(r"(?=^    \{\n)", text, flags=re.MULTILINE)
    for i, panel in enumerate(panels):
        queries = re.findall(r'"expr": "(.*)"', panel)
        if any("batchyield_drift_readings" in query for query in queries):
            panels[i] = re.sub(r'("red", "value": )[0-9]+', rf"\g<1>{many_readings(readings)}", panel)
        elif any(IN_TARGET_UNIT.search(query) and " / " not in query for query in queries):
            panel = re.sub(r'"unit": ".*"', lambda _: f'"unit": {json.dumps(unit, ensure_ascii=False)}', panel, count=1)
            panels[i] = re.sub(r'("value": -?)[0-9.e+-]+', rf"\g<1>{limit:g}", panel)
    return "".join(panels)


def rules(text: str, target: Target, readings: int) -> str:
    """Return the alerts with limits and values in the target's unit."""
    form = "humanizePercentage" if target.is_fraction else f'printf "{f"%.3g {target.unit}".strip()}"'
    limit, many = f"{shift_limit(target):g}", str(many_readings(readings))
    for pattern, new in (
        (r"(batchyield_prediction_mean_reference\)\) > )\S+", limit),
        (r"(batchyield_shadow_moved:mean1h > )[0-9.e+-]+", limit),
        (r"(batchyield_drift_readings\) >= )[0-9]+", many),
        (rf"((?:moved by|training's by) \{{\{{ \$value \| ){_FORM}", form),
        (rf'(query "batchyield_live_mae\w*" \}}\}}\{{\{{ \. \| first \| value \| ){_FORM}', form),
    ):
        text, found = re.subn(pattern, rf"\g<1>{new}", text)
        if not found:
            raise ConfigError(f"{RULES} has no {pattern}", f"`git checkout {RULES}`")
    return text


def write_units(root: Path = Path()) -> list[Path]:
    """Rewrite both files below `root`; return those that changed."""
    changed = []
    for path, rewrite in ((DASHBOARD, dashboard), (RULES, rules)):
        before = (root / path).read_text(encoding="utf-8")
        after = rewrite(before, TARGET, len(READINGS))
        if after != before:
            write_atomic(root / path, after.encode())
            changed.append(path)
    return changed
