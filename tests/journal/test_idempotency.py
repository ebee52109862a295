"""`Idempotency-Key`: a repeated request gets the first response again and is journalled once, in both databases."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import select
from support.journal_database import append, entry, opened, rows_of
from support.service import Running, client_of, linear_onnx, make_checkout, refusal

from api.openapi.examples import BATCH, INPUTS, MISTYPED, sheet
from api.routes.idempotency import PATTERN
from batchyield.client import Client, Retry
from batchyield.journal.backup import back_up, restore
from batchyield.journal.insert import AlreadyRecordedError, JournalWriter
from batchyield.journal.queries import read_predictions, read_recorded
from batchyield.journal.records import MAX_PART_BATCHES
from batchyield.journal.retention import prune
from batchyield.journal.tables import idempotency
from batchyield.plant.batch import Batch
from batchyield.serving.auth.api_keys import SCOPES, encode_keys, new_key

KEY = {"idempotency-key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
LARGE = {"inputs": [BATCH | {"id": f"batch {n}"} for n in range(2 * MAX_PART_BATCHES + 1)]}
CSV = {"content-type": "text/csv"}

REQUESTS = {
    "json": ("/v1/predictions", {"json": INPUTS}),
    "explained": ("/v1/predictions?explain=true", {"json": INPUTS}),
    "large": ("/v1/predictions", {"json": LARGE}),
    "csv": ("/v1/predictions/csv", {"content": sheet([BATCH, MISTYPED]), "headers": CSV}),
    "csv to json": (
        "/v1/predictions/csv?bias=off",
        {"content": sheet([BATCH, MISTYPED]), "headers": CSV | {"accept": "application/json"}},
    ),
}


def send(client, name, key=KEY):
    path, body = REQUESTS[name]
    return client.post(path, **body | {"headers": body.get("headers", {}) | key})


def new_answer(key, batches=1):
    """An entry under a key for each part of a request."""
    parts = [entry(Batch(id=f"{key} {n}"))._replace(key=key) for n in range(batches)]
    return [one._replace(part=one.part._replace(first=n)) for n, one in enumerate(parts)]


def writer_of(store):
    """A writer, and the list of its failures."""
    failures = []
    return JournalWriter(store, lambda *_: None, lambda: failures.append(1)), failures


@pytest.mark.parametrize("name", REQUESTS)
def test_repeated_request(checkout, url, name):
    """A repeated request gets the same bytes and the pin again, and the journal holds the first alone."""
    with client_of(checkout, journal=url) as client:
        first = send(client, name, KEY | {"x-request-id": "first"})
        rows = rows_of(url)
        again = send(client, name, KEY | {"x-request-id": "again"})
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.content == first.content
        assert again.headers.get("x-model-md5") == first.headers.get("x-model-md5")
        assert rows_of(url) == rows
        assert {row.request for row in rows} == {"first"}
        keys = client.get("/v1/predictions").json()["predictions"]
        assert len({one["key"] for one in keys}) == min(len(rows), 100)
        assert "batchyield_journal_failures_total 0.0" in client.get("/metrics").text


def test_quotes_are_optional(checkout, url):
    """The draft's quoted string and the bare value are one key."""
    with client_of(checkout, journal=url) as client:
        send(client, "json")
        send(client, "json", {"idempotency-key": KEY["idempotency-key"].strip('"')})
    assert len(rows_of(url)) == len(INPUTS["inputs"])


def test_other_body(checkout, url):
    """Other batches under the same key are refused, and nothing is journalled."""
    with client_of(checkout, journal=url) as client:
        send(client, "json")
        problem = refusal(client.post("/v1/predictions", json={"inputs": [BATCH]}, headers=KEY), 422, "invalid-input")
        assert problem["violations"] == [
            {
                "where": "header Idempotency-Key",
                "problem": "was sent before with other batches; choose a new key for each request",
            }
        ]
    assert len(rows_of(url)) == len(INPUTS["inputs"])


def test_scope_of_a_key(checkout, url, tmp_path):
    """A key counts for one API key, one path and one query."""
    callers = {"line-1": "a" * 32, "line-2": "b" * 32}
    (tmp_path / "keys").write_bytes(encode_keys([new_key(name, SCOPES, secret) for name, secret in callers.items()]))
    with client_of(checkout, journal=url, api_keys_file=str(tmp_path / "keys")) as client:
        for secret in callers.values():
            for name in ("json", "explained", "csv"):
                for _ in range(2):
                    assert send(client, name, KEY | {"x-api-key": secret}).status_code == 200
    assert len(rows_of(url)) == 2 * 3 * 2


@pytest.mark.parametrize("value", ["", '""', "a b", "ä", "x" * 256, 'a"b'])
def test_malformed_key(checkout, tmp_path, value):
    """A malformed key is refused before anything is predicted."""
    with client_of(checkout, journal=str(tmp_path / "journal.sqlite")) as client:
        answer = client.post("/v1/predictions", json=INPUTS, headers={"idempotency-key": value.encode()})
        assert refusal(answer, 422, "invalid-input")["violations"][0]["where"] == "header Idempotency-Key"
        document = client.get("/schema/openapi.json").json()
    for path in ("/v1/predictions", "/v1/predictions/csv"):
        (header,) = [one for one in document["paths"][path]["post"]["parameters"] if one["in"] == "header"]
        assert (header["name"], header["schema"]["pattern"]) == ("Idempotency-Key", f"^{PATTERN}$")


def test_not_recorded(checkout, tmp_path):
    """Without a journal, or for values that are only tried out, a key has no effect."""
    for journal, path in (("off", "/v1/predictions"), (str(tmp_path / "j"), "/v1/predictions?record=false")):
        with client_of(checkout, journal=journal) as client:
            bodies = [INPUTS, {"inputs": [BATCH]}]
            assert [client.post(path, json=body, headers=KEY).status_code for body in bodies] == [200, 200]
    assert not (tmp_path / "j").exists() or rows_of(tmp_path / "j") == []


def test_after_a_deployment(checkout, url, tmp_path):
    """A repeated request gets the answer of the first model, which another model refuses to explain."""
    with client_of(checkout, journal=url) as client:
        first, _ = send(client, "json"), send(client, "explained")
        sheet_first = send(client, "csv")
    other = linear_onnx(constant=0.5000005)  # its golden rows are predicted within their tolerance
    with client_of(make_checkout(tmp_path, other), journal=url) as client:
        assert client.get("/v1/model").json()["md5"] != first.json()["model"]["md5"]
        assert send(client, "json", {}).json()["predictions"] != first.json()["predictions"]
        assert send(client, "json").content == first.content
        again = send(client, "csv")
        assert (again.content, again.headers["x-model-md5"]) == (sheet_first.content, first.json()["model"]["md5"])
        assert "send a new Idempotency-Key" in refusal(send(client, "explained"), 409, "conflict")["detail"]


def test_concurrent_requests(checkout, url):
    """Of concurrent requests under one key, to two workers, one is journalled and all get its response."""
    with Running(checkout, "--workers", "2", BATCHYIELD_JOURNAL=url) as running, ThreadPoolExecutor(8) as threads:
        for name in ("json", "large"):
            for n in range(5):
                key = {"idempotency-key": f"{name}-{n}"}
                answers = list(threads.map(lambda _, name=name, key=key: send(running, name, key), range(8)))
                assert {answer.status_code for answer in answers} == {200}
                assert len({answer.content for answer in answers}) == 1
    assert len(rows_of(url)) == 5 * (len(INPUTS["inputs"]) + len(LARGE["inputs"]))
    assert running.errors.count("Traceback") == 0


class LosesResponses(httpx.HTTPTransport):
    """A network that loses every second response, after the service has sent it."""

    def __init__(self):
        super().__init__()
        self.requests = []

    def handle_request(self, request):
        response = super().handle_request(request)
        self.requests.append(request.headers.get("idempotency-key"))
        if len(self.requests) % 2:
            response.close()
            raise httpx.ReadError("the response was lost", request=request)
        return response


def test_retries_of_the_client(checkout, url):
    """The client's retries carry the key of the first attempt, and each call another key."""
    network, retry = LosesResponses(), Retry(first_wait=0)
    with (
        Running(checkout, BATCHYIELD_JOURNAL=url) as running,
        Client(running.url, retry=retry, transport=network) as one,
    ):
        for _ in range(2):
            one.predict(INPUTS["inputs"])
        one.predict_csv(sheet([BATCH]).encode())
        list(one.score_csv(sheet([BATCH]).encode()))
    keys = network.requests
    assert len(keys) == 8
    assert keys[::2] == keys[1::2]
    assert len({*keys}) == 4
    assert len(rows_of(url)) == 2 * len(INPUTS["inputs"]) + 2


def test_group_with_a_repeated_key(store):
    """In a group, a repeated key fails its own request only; parts of a request are written all or none."""
    writer, failures = writer_of(store)
    first, large, plain = new_answer("a"), new_answer("b", 3), [entry(Batch(id="plain"))]
    results = writer.write([*first, *large, *plain, *first, *new_answer("b", 2)])
    writer.close()
    assert [type(result) for result in results] == [type(None)] * 5 + [AlreadyRecordedError] * 3
    assert failures == []
    assert len(rows_of_store(store)) == 5
    assert len(read_recorded(store, "b")) == 3


def test_bad_part(store):
    """A part that cannot be written takes the other parts of its request with it, and no other request."""
    writer, _ = writer_of(store)
    bad = new_answer("a", 3)
    bad[1] = bad[1]._replace(caller=object())
    results = writer.write([entry(Batch(id="plain")), *bad])
    writer.close()
    assert [result is None for result in results] == [True, False, False, False]
    assert rows_of_store(store) == ["plain"]
    assert read_recorded(store, "a") == []


def rows_of_store(store):
    return [row.batch.id for row in read_predictions(store)]


def test_retention(store):
    """Retention deletes the keys with their answers."""
    append(store, *new_answer("a", 2), *[one._replace(at=5_000_000) for one in new_answer("b")])
    assert prune(store, 2_000_000) == 2
    with store.read_transaction() as connection:
        assert connection.execute(select(idempotency.c.key)).scalars().all() == ["b"]


def test_backup(store, tmp_path):
    """A restored journal knows the keys; one that was used again since the backup stays with the later answer."""
    append(store, *new_answer("a", 3), entry(Batch(id="plain")), *new_answer("b"))
    back_up(store, tmp_path / "backup.sqlite")
    with opened(tmp_path / "new.sqlite") as new:
        restore(new, tmp_path / "backup.sqlite")
        assert [read_recorded(new, key) for key in "ab"] == [read_recorded(store, key) for key in "ab"]
    with opened(tmp_path / "other.sqlite") as other:
        restore(other, tmp_path / "backup.sqlite")
        prune(other, 2_000_000)
        append(other, *[one._replace(at=9_000_000) for one in new_answer("b")])
        assert restore(other, tmp_path / "backup.sqlite").predictions == 5
        assert len(read_recorded(other, "a")) == 3
        assert len(read_recorded(other, "b")) == 1
        assert restore(other, tmp_path / "backup.sqlite").predictions == 0
