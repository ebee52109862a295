"""The metrics at `GET /metrics`."""

import re
import shutil

import pytest
from prometheus_client import CONTENT_TYPE_LATEST
from support.service import client_of

from api.openapi.examples import BATCH, INPUTS, MISTYPED, sheet


@pytest.fixture
def client(checkout):
    with client_of(checkout) as client:
        yield client


def counted(client, series, **labels):
    """The value of one series, 0 if it is absent."""
    label_text = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    series = f"{series}{{{label_text}}} "
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(series)]
    return float(lines[0].split(" ")[-1]) if lines else 0.0


def test_requests(client):
    """Requests are counted by method, route and status."""
    for _ in range(3):
        client.post("/v1/predictions", json=INPUTS)
    client.post("/v1/predictions", json={})
    client.get("/made-up-by-a-scanner")
    requests = "batchyield_http_requests_total"
    assert counted(client, requests, method="POST", route="/v1/predictions", status=200) == 3
    assert counted(client, requests, method="POST", route="/v1/predictions", status=422) == 1
    assert counted(client, requests, method="GET", route="unmatched", status=404) == 1
    assert counted(client, "batchyield_http_request_seconds_count", route="/v1/predictions") == 4
    assert "made-up" not in client.get("/metrics").text


def test_unknown_methods(client):
    """Unknown methods are counted as `other`."""
    for method in ("BREW", "WHEN"):
        client.request(method, "/v1/model")
    assert counted(client, "batchyield_http_requests_total", method="other", route="/v1/model", status=405) >= 1
    assert "BREW" not in client.get("/metrics").text


def test_predictions(client):
    """Predictions are counted by format, and warnings by kind."""
    client.post("/v1/predictions", json=INPUTS)
    client.post("/v1/predictions/csv", content=sheet([BATCH, MISTYPED]), headers={"content-type": "text/csv"})
    assert counted(client, "batchyield_predictions_total", format="json") == 2
    assert counted(client, "batchyield_predictions_total", format="csv") == 2
    assert counted(client, "batchyield_warnings_total", kind="full_width") == 2


def test_model_info(client):
    """The metrics name the model."""
    model = client.get("/v1/model").json()
    facts = {name: model[name] for name in ("name", "version", "revision", "md5")}
    assert counted(client, "batchyield_model_info", **facts) == 1
    assert client.get("/metrics").headers["content-type"] == CONTENT_TYPE_LATEST


def test_journal_disk(client, checkout):
    """The free space of the disk of the journal's file is a metric, which an alert watches."""
    usage = shutil.disk_usage(checkout)
    text = client.get("/metrics").text
    (size,) = re.findall(r"^batchyield_journal_disk_bytes (\S+)$", text, re.MULTILINE)
    (free,) = re.findall(r"^batchyield_journal_disk_free_bytes (\S+)$", text, re.MULTILINE)
    assert float(size) == usage.total
    assert 0 <= float(free) <= float(size)
