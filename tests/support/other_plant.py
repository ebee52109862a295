"""What the code of another plant serves and writes: `python -m support.other_plant FILE` in its checkout."""

import json
import sys
from pathlib import Path

from litestar.testing import TestClient

from api.app import create_app
from api.settings import Settings
from batchyield.cli.__main__ import build_parser
from batchyield.journal.database import Database, locate_journal
from batchyield.modelling.params import read_params
from batchyield.monitoring.report.collect import collect_report
from batchyield.monitoring.report.html import render_page
from batchyield.review.gate import GateResult, check_bounds
from batchyield.review.journal_replay import open_candidate
from batchyield.review.report.page import write_page

CSV = {"content-type": "text/csv"}


def served(lines):
    """The responses of a service that gets the first lines of the plant's file, half of them as JSON."""
    header, *rows = (line.split(",") for line in lines)
    inputs = [
        {"id": f"batch {n}", **{name: float(cell) for name, cell in zip(header[:-1], row, strict=False)}}
        for n, row in enumerate(rows)
    ]
    outcomes = [{"id": each["id"], "yield": float(row[-1])} for each, row in zip(inputs, rows, strict=True)]
    wrong = "\n".join([lines[0], "1," * 8 + "much"])
    settings = Settings(lock="dvc.lock", revision="1" * 40, journal="journal.sqlite")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        asked = {
            "json": ("POST", "/v1/predictions", {"json": {"inputs": inputs}}),
            "explained": ("POST", "/v1/predictions?explain=true", {"json": {"inputs": inputs[:2]}}),
            "csv": ("POST", "/v1/predictions/csv", {"content": "\n".join(lines), "headers": CSV}),
            "outcomes": ("POST", "/v1/outcomes", {"json": {"outcomes": outcomes}}),
            "refused": ("POST", "/v1/outcomes", {"json": {"outcomes": [outcomes[0] | {"yield": 1e5}]}}),
            "wrong cell": (
                "POST",
                "/v1/predictions/csv",
                {"content": wrong, "headers": CSV},
            ),
            "monitoring": ("GET", "/v1/monitoring", {}),
            "readings": ("GET", "/v1/readings", {}),
            "openapi": ("GET", "/schema/openapi.json", {}),
            "metrics": ("GET", "/metrics", {}),
        }
        return {name: client.request(method, path, **more).text for name, (method, path, more) in asked.items()}


def written():
    """Drift report, gate, report on the last change, and help, each as text."""
    store = Database(locate_journal("journal.sqlite", "", None))
    found = collect_report(store, open_candidate(Path("data/model")), None, None)
    store.close()
    gate = GateResult(check_bounds(read_params().gate, Path("data/metrics")), [], False)
    return {
        "drift report": render_page(found),
        "drift report in Chinese": render_page(found, "zh"),
        "gate": str(gate),
        "review": write_page("HEAD").text,
        "contract": Path("data/validated/report.md").read_text(),
        "dashboard": Path("monitoring/grafana/dashboards/model.json").read_text(),
        "alerts": Path("monitoring/prometheus/rules/model.yml").read_text(),
        "help": build_parser().format_help(),
    }


if __name__ == "__main__":
    print(json.dumps(served(Path(sys.argv[1]).read_text().splitlines()[:121]) | written()))
