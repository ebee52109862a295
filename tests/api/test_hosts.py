"""Two services, as on two machines, that share only a PostgreSQL database."""

import re

import msgspec
import pytest
from support.journal_database import database, rows_of
from support.monitored_plant import coming, make_plant, raised
from support.service import Running


@pytest.fixture(scope="module")
def journal(postgres_server):
    with database(postgres_server) as url:
        yield url


@pytest.fixture(scope="module")
def hosts(tmp_path_factory, journal):
    """Each with a checkout of its own, and so with its own folder of models, statuses and findings."""
    services = [
        Running(make_plant(tmp_path_factory.mktemp(name)), BATCHYIELD_JOURNAL=journal, BATCHYIELD_WATCH_SECONDS="0")
        for name in ("a", "b")
    ]
    with services[0] as a, services[1] as b, a.client() as of_a, b.client() as of_b:
        yield of_a, of_b


def ask(client, rows):
    answer = client.post("/v1/predictions", json={"inputs": msgspec.to_builtins(rows)})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_shared_journal(hosts, journal):
    """Two hosts share one journal: predictions of one match outcomes sent to the other."""
    a, b = hosts
    answers = ask(a, coming(150)) + ask(b, coming(350, 150, B14=raised(-40)))
    measured = [{"id": one["id"], "yield": round(one["yield"] - 0.03, 6)} for one in answers[:60]]
    outcomes = b.post("/v1/outcomes", json={"outcomes": measured}).json()
    assert (outcomes["matched"], outcomes["unmatched"]) == (60, 0)
    seen = [client.get("/v1/monitoring").json() for client in hosts]
    assert seen[0]["window"] == seen[1]["window"]
    assert seen[0]["window"]["batches"] == 500
    assert "B14" in seen[0]["window"]["drifted"]
    assert seen[0]["live"] == seen[1]["live"]
    assert seen[0]["live"]["outcomes"] == 60
    assert [row.measured for row in rows_of(journal)].count(None) == 440


def test_request_metrics(hosts):
    """Request metrics are separate for each host."""
    a, b = hosts
    before = [counted(client) for client in hosts]
    ask(a, coming(3))
    assert [counted(client) for client in hosts] == [before[0] + 3, before[1]]
    assert a.get("/v1/model").json() == b.get("/v1/model").json()


def counted(client):
    """The number of predictions of a host in its metrics."""
    return sum(map(float, re.findall(r"^batchyield_predictions_total\{.*\} (\S+)$", client.get("/metrics").text, re.M)))
