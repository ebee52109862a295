"""Predictions corrected by measured yields: the answer, its journal, and the same state in every worker."""

import time
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, update
from support.service import BIAS, REFERENCE, add_bias, batches, card, client_of, linear_onnx, make_checkout, pin

from api.openapi.examples import BATCH, sheet
from batchyield.journal.bias_states import read_state
from batchyield.journal.database import Database, sqlite_url
from batchyield.journal.tables import bias_state, correction
from batchyield.serving.artifact import golden_rows, write_artifact
from batchyield.serving.bias import BiasState
from batchyield.versioning.provenance.prediction import trace_prediction

ERROR = 0.02
"""Measured minus predicted yield of every measured batch."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = make_checkout(tmp_path_factory.mktemp("model"))
    add_bias(root)
    return root


@contextmanager
def service(checkout, tmp_path, **settings):
    with client_of(checkout, journal=str(tmp_path / "journal.sqlite"), **settings) as client:
        yield client


def predict(client, *numbers, query="", **fields):
    inputs = [{"id": f"s_{number}", "B14": 400.0, **fields} for number in numbers]
    answer = client.post(f"/v1/predictions{query}", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def measure(client, *numbers, error=ERROR):
    outcomes = [{"id": f"s_{number}", "yield": round(0.9 + error, 4)} for number in numbers]
    with changed_state(client):
        answer = client.post("/v1/outcomes", json={"outcomes": outcomes})
        assert answer.status_code == 200, answer.text
    return answer.json()


def withdraw(client, number):
    with changed_state(client):
        assert client.delete(f"/v1/outcomes/s_{number}").status_code == 200


@contextmanager
def changed_state(client):
    """Wait after the block until answers name another state."""
    before = digest(client)
    yield
    deadline = time.monotonic() + 60
    while digest(client) == before:
        assert time.monotonic() < deadline, "the state of the bias update did not change"
        time.sleep(0.02)


def digest(client):
    return predict(client, 50, query="?record=false")[0].get("bias", {}).get("digest")


@pytest.fixture
def measured(checkout, tmp_path):
    """A service that knows the yields of ten batches."""
    with service(checkout, tmp_path) as client:
        predict(client, *range(10))
        measure(client, *range(10))
        yield client


class TestAnswer:
    def test_corrected(self, measured):
        """The yield is the best prediction; the correction names what it comes from."""
        (made,) = predict(measured, 10)
        bias = made["bias"]
        assert made["unbiased"] == 0.9
        assert made["yield"] == round(0.9 + bias["value"], 7)
        assert 0.01 < bias["value"] < ERROR
        assert (bias["batches"], bias["latest"]) == (10, "s_9")
        assert made["lower"] < made["yield"] < made["upper"]

    def test_off(self, measured):
        """`?bias=off` answers the model alone, as do batches without a place or before the measured ones."""
        alone = predict(measured, 10, query="?bias=off")
        assert set(alone[0]) == {"id", "yield", "lower", "upper", "warnings"}
        assert alone[0]["yield"] == 0.9
        assert "bias" not in predict(measured, 0)[0]
        assert "bias" not in predict(measured, "x")[0]
        refused = measured.post("/v1/predictions?bias=no", json={"inputs": [{}]})
        assert (refused.status_code, "`on` or `off`" in refused.json()["detail"]) == (422, True)

    def test_no_outcomes(self, checkout, tmp_path):
        """Without measured yields the answer is as it was before the update existed."""
        with service(checkout, tmp_path) as client:
            assert set(predict(client, 1)[0]) == {"id", "yield", "lower", "upper", "warnings"}

    def test_sequence(self, measured):
        """`sequence` decides the place of a batch before the number in its id does."""
        assert "bias" not in predict(measured, 10, sequence=0)[0]
        assert predict(measured, 0, sequence=10)[0]["bias"]["latest"] == "s_9"

    def test_sheet(self, measured):
        """A sheet may have the column `sequence`, too."""
        head, line = sheet([BATCH | {"id": "s_0"}]).splitlines()
        for sequence, corrected in (("", False), ("10", True)):
            body = f"{head},sequence\n{line},{sequence}\n".encode()
            types = {"content-type": "text/csv", "accept": "application/json"}
            answer = measured.post("/v1/predictions/csv", content=body, headers=types)
            assert ("bias" in answer.json()["predictions"][0]) is corrected, answer.text

    def test_explained(self, measured):
        """An explanation adds up to the prediction of the model alone."""
        (made,) = predict(measured, 10, query="?explain=true")
        explained = made["explanation"]
        total = explained["baseline"] + sum(c["effect"] for c in explained["contributions"]) + explained["rest"]
        assert total == pytest.approx(made["unbiased"], abs=1e-7)

    def test_setting(self, checkout, tmp_path):
        """With the setting `off`, or without params in dvc.lock, predictions are those of the model alone."""
        with service(checkout, tmp_path) as client:
            predict(client, *range(10))
            measure(client, *range(10))
        with service(checkout, tmp_path, bias="off") as client:
            assert "bias" not in predict(client, 10)[0]
        with service(make_checkout(tmp_path), tmp_path) as client:
            assert "bias" not in predict(client, 10)[0]


class TestState:
    def test_restart(self, checkout, tmp_path):
        """Another worker, or the service after a restart, derives the same state before its first answer."""
        with service(checkout, tmp_path) as client:
            predict(client, *range(10))
            measure(client, *range(10))
            before = predict(client, 10)
        with service(checkout, tmp_path) as client:
            assert predict(client, 10) == before

    def test_journalled(self, measured, tmp_path):
        """The journal holds the state that an answer names, and it gives the answered numbers."""
        (made,) = predict(measured, 10)
        database = Database(sqlite_url(tmp_path / "journal.sqlite"))
        with database.read_transaction() as connection:
            content = read_state(connection, made["bias"]["digest"])
        database.close()
        state = BiasState.decode(content)
        assert state.digest == made["bias"]["digest"]
        assert [residual.batch for residual in state.residuals] == [f"s_{n}" for n in range(10)]

    def test_trace(self, measured, checkout, tmp_path):
        """A prediction is computed again to the last digit; changed rows of the journal are found."""
        (made,) = predict(measured, 10)
        measure(measured, 9, error=0.0)  # a correction does not change what was answered before
        database = Database(sqlite_url(tmp_path / "journal.sqlite"))
        model = checkout / "data/model/model.onnx"
        found = trace_prediction("s_10", database, model)
        assert (found.prediction.yield_, found.differences, found.notes) == (made["yield"], (), ())
        assert [residual.batch for residual in found.used] == [f"s_{n}" for n in range(10)]
        assert trace_prediction(f"{found.request}/0", database, model).prediction == found.prediction
        assert trace_prediction("nothing", database, model) is None
        with database.write_transaction() as connection:
            connection.execute(update(correction).values({"yield": 0.5}))
            connection.execute(update(bias_state).values(content=func.replace(bias_state.c.content, "0.92,", "0.93,")))
        changed = trace_prediction("s_10", database, tmp_path / "none").differences
        assert any("has the digest" in difference for difference in changed)
        assert any("no report of" in difference for difference in changed)
        database.close()

    def test_changes(self, measured):
        """A corrected and a withdrawn outcome change later predictions."""
        (first,) = predict(measured, 10)
        measure(measured, 9, error=0.0)
        (second,) = predict(measured, 10)
        assert second["bias"]["value"] < first["bias"]["value"]
        withdraw(measured, 9)
        assert measured.delete("/v1/outcomes/s_9").json() == {"id": "s_9", "yield": None}
        (third,) = predict(measured, 10)
        assert (third["bias"]["batches"], third["bias"]["latest"]) == (9, "s_8")
        assert len({made["bias"]["digest"] for made in (first, second, third)}) == 3

    def test_model(self, checkout, tmp_path):
        """Another model starts from its own residuals, not from those of the model that answered."""
        with service(checkout, tmp_path) as client:
            predict(client, *range(10))
            measure(client, *range(10))
            (first,) = predict(client, 10)
        model, other = linear_onnx(0.51), make_checkout(tmp_path / "other")
        write_artifact(other / "data/model", model, card(), golden_rows(model, batches(20)), REFERENCE)
        pin(other)
        add_bias(other)
        with service(other, tmp_path) as client:
            (second,) = predict(client, 10)
        assert second["unbiased"] == pytest.approx(0.91, abs=1e-6)
        assert 0 < second["bias"]["value"] < first["bias"]["value"]


def test_monitoring(checkout, tmp_path):
    """The report and the gauges have the corrections, and the error with and without them."""
    with service(checkout, tmp_path, watch_seconds=0.05) as client:
        predict(client, *range(10))
        measure(client, *range(10))
        predict(client, *range(10, 20))
        measure(client, *range(10, 20))
        deadline = time.monotonic() + 60
        while (gauges := read_gauges(client)).get("batchyield_bias_outcomes") != 20:
            assert time.monotonic() < deadline, "no check with the 20 outcomes"
        report = client.get("/v1/monitoring").json()
    live, bias = report["live"], report["bias"]
    assert live["mae_alone"]["value"] == pytest.approx(ERROR)
    assert live["mae"]["value"] < live["mae_alone"]["value"] == gauges["batchyield_live_mae_alone"]
    assert (bias["batches"], bias["corrected"], bias["age"]) == (20, 0.5, 0)
    assert gauges["batchyield_bias_corrected_share"] == 0.5
    assert gauges["batchyield_bias_outcomes"] == bias["outcomes"]
    assert gauges["batchyield_bias_limit"] == BIAS["limit"]
    assert gauges["batchyield_bias_correction"] == bias["lines"][-1]["value"]


def read_gauges(client):
    """The value of each metric, of several series the last."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_measured_at(measured):
    """The time of a measurement is listed; another time of the same yield is a correction."""

    def report(**more):
        answer = measured.post("/v1/outcomes", json={"outcomes": [{"id": "late", "yield": 0.9, **more}]})
        return answer.json()["outcomes"][0]["result"]

    def listed():
        (row,) = measured.get("/v1/outcomes?id=late").json()["outcomes"]
        return row["measured_at"]

    assert (report(), listed()) == ("recorded", None)
    assert report(measured_at="2026-11-29T09:00:00+01:00") == "corrected"
    assert listed() == "2026-11-29T08:00:00.000Z"
    assert [report(), report(measured_at="2026-11-29T08:00:00Z")] == ["unchanged"] * 2


def test_unusual(measured):
    """A mistyped yield is flagged, moves predictions little, and is easily withdrawn."""
    (before,) = predict(measured, 11)
    predict(measured, 10)
    (kept,) = measure(measured, 10, error=-0.81)["outcomes"]
    assert kept["unusual"] is True
    (made,) = predict(measured, 11)
    assert abs(made["yield"] - before["yield"]) < 0.02
    withdraw(measured, 10)
    assert predict(measured, 11) == [before]
