"""POST /v1/predictions?explain=true."""

import json
import threading

import pytest
from support.service import ROOT, client_of, make_checkout, places, refusal

from api.openapi.examples import BATCH, INPUTS, sheet
from batchyield.serving.chunking import MAX_EXPLAINED_BATCHES
from batchyield.serving.shapley import Explainer

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with client_of(make_checkout(tmp_path_factory.mktemp("model"))) as client:
        yield client


def post(client, query, inputs=INPUTS):
    content = inputs if isinstance(inputs, bytes) else json.dumps(inputs)
    return client.post(f"/v1/predictions{query}", content=content, headers=JSON)


def test_explain(client):
    """`?explain=true` adds an explanation to each prediction and changes nothing else."""
    plain, answer = post(client, "").json(), post(client, "?explain=true")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["model"] == plain["model"]
    predictions = answer.json()["predictions"]
    for prediction, value in zip(predictions, (400.0, 420.0), strict=True):
        why = prediction["explanation"]
        effect = pytest.approx((value - 409) / 1000, abs=2e-7)  # the model of the tests sums in float32
        assert why["baseline"] == 0.909
        assert why["contributions"] == [{"feature": "B14", "value": value, "typical": 409.0, "effect": effect}]
        assert why["baseline"] + why["contributions"][0]["effect"] + why["rest"] == pytest.approx(prediction["yield"])
    for prediction in predictions:
        del prediction["explanation"]
    assert predictions == plain["predictions"]


@pytest.mark.parametrize(
    "query",
    ["?", "?explain=false", "?explained=true", "?Explain=true", "?other=explain", "?%FF=1&x", "?a=explain=true"],
)
def test_explain_off(client, query):
    """Without an explanation the response is the same to the byte."""
    assert post(client, query).content == post(client, "").content


@pytest.mark.parametrize("query", ["?explain=true", "?explain=%74rue", "?other=1&explain=true", "?%65xplain=true&"])
def test_query_spelling(client, query):
    """The parameter is found in every spelling of the query string."""
    assert all("explanation" in prediction for prediction in post(client, query).json()["predictions"])


@pytest.mark.parametrize(
    "query",
    ["?explain", "?explain=", "?explain=True", "?explain=1", "?explain=yes", "?explain=true&explain=false",
     "?explain=true&explain=true", "?explain=true%20", "?explain=%FF", "?x=1&explain=null"],
)  # fmt: skip
def test_invalid_value(client, query):
    """Another value of the parameter is refused by its name."""
    problem = refusal(post(client, query), 422, "invalid-input")
    assert places(problem) == ["query parameter explain"]
    assert problem["violations"][0]["problem"].startswith("expected `true` or `false`, once, got '")


def test_batch_limit(client):
    """The documented number of batches is explained, and one more is refused."""
    assert f"at most {MAX_EXPLAINED_BATCHES} batches" in (ROOT / "docs/api.md").read_text()
    inputs = {"inputs": [BATCH | {"id": str(n)} for n in range(MAX_EXPLAINED_BATCHES)]}
    answer = post(client, "?explain=true", inputs).json()["predictions"]
    assert [p["id"] for p in answer] == [str(n) for n in range(MAX_EXPLAINED_BATCHES)]
    assert all(p["explanation"] == answer[0]["explanation"] for p in answer)
    inputs["inputs"].append(BATCH)
    problem = refusal(post(client, "?explain=true", inputs), 422, "invalid-input")
    assert places(problem) == ["$.inputs"]
    assert f"at most {MAX_EXPLAINED_BATCHES} at a time" in problem["detail"]
    assert post(client, "?explain=false", inputs).status_code == 200


def test_invalid_batches(client):
    """Invalid batches get the same refusal with and without explanations."""
    for inputs in ({"inputs": [BATCH, {"A6": "bad"}]}, {"inputs": []}, b"{", b"\xff"):
        plain, explained = post(client, "", inputs), post(client, "?explain=true", inputs)
        assert (explained.status_code, explained.content) == (plain.status_code, plain.content)
        assert explained.status_code in (400, 422)


def test_empty_batch(client):
    """A batch without readings is explained."""
    (prediction,) = post(client, "?explain=true", {"inputs": [{}]}).json()["predictions"]
    assert prediction["explanation"]["contributions"] == [
        {"feature": "B14", "value": None, "typical": 409.0, "effect": -0.409}
    ]


def test_worker_thread(client, monkeypatch):
    """Explanations are computed outside the event loop's thread."""
    threads, explain = [], Explainer.explain

    def watched(self, *arguments):
        threads.append(threading.current_thread().name)
        return explain(self, *arguments)

    monkeypatch.setattr(Explainer, "explain", watched)
    post(client, "?explain=true")
    post(client, "")
    assert [name.partition("_")[0] for name in threads] == ["bulk"]


def test_prediction_count(client):
    """Explained predictions count as predictions in the metrics."""

    def counted():
        line = next(
            x for x in client.get("/metrics").text.splitlines() if x.startswith("batchyield_predictions_total{")
        )
        return float(line.split()[-1])

    post(client, "?explain=true")
    before = counted()
    post(client, "?explain=true")
    assert counted() == before + 2


def test_csv(client):
    """The CSV route ignores `explain`."""

    def ask(query):
        headers = {"content-type": "text/csv", "accept": "application/json"}
        return client.post(f"/v1/predictions/csv{query}", content=sheet([BATCH]).encode(), headers=headers)

    assert ask("?explain=true").content == ask("").content
