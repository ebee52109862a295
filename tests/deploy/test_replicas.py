"""Two replicas with two workers on hosts of their own, one PostgreSQL, and HAProxy as deploy/replicas configures it.

The second replica reaches the database through PgBouncer in transaction mode.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psycopg
import pytest
from support.deployments import A, B, store_model
from support.journal_database import Load, lost, opened, rows_of
from support.monitored_plant import coming, make_plant, raised
from support.pgbouncer import pgbouncer
from support.replica_network import CONFIGURATION, Network, Replica, haproxy, postgres_on, require, until
from support.service import START_SECONDS, add_bias

from api.settings import Settings
from batchyield.client import Client, ClientError
from batchyield.journal.migrate import upgrade_schema
from batchyield.serving.auth.api_keys import SCOPES, encode_keys, new_key
from batchyield.serving.deployment.model_store import ModelStore
from batchyield.serving.deployment.rollout import deploy

KEY = {"x-api-key": "k" * 32}
OTHER = {"x-api-key": "o" * 32}
RATE = 1000
CALLERS = 3
IN_FLIGHT = {(502, "about:blank", True), "gone"}
"""Results of a request whose replica ended: HAProxy's, which also closes a connection that it has used before."""
NOT_JOURNALLED = (503, "not-journalled", True)


@pytest.fixture(scope="module")
def network():
    require("haproxy", "pgbouncer", "setpriv")
    network = Network()
    yield network
    network.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The file of API keys, which both hosts mount."""
    file = tmp_path_factory.mktemp("keys") / "api_keys"
    file.write_bytes(encode_keys([new_key("line", SCOPES, KEY["x-api-key"])]))
    return file


@pytest.fixture(scope="module")
def postgres(network):
    """The host of the database, its journal's URL, and the id of its user."""
    host = network.host(10)
    with postgres_on(host) as (url, user):
        with opened(url) as store:
            upgrade_schema(store)
        yield host, url, user


@pytest.fixture(scope="module")
def replicas(network, postgres, keys, tmp_path_factory):
    """Both replicas, running; each has its own checkout, and so its own folder of models."""
    server, url, user = postgres
    hosts, pooler = [network.host(11), network.host(12)], network.host(14)
    upstream = f"host={server.address} user=postgres"
    with pgbouncer("postgres", upstream, user, host=pooler.address, prefix=pooler.command()) as address:
        pooled = f"postgresql://postgres@{address}/postgres?pool_mode=transaction"
        made = []
        for host, (journal, route) in zip(hosts, [(url, hosts[0]), (pooled, pooler)], strict=True):
            checkout = make_plant(tmp_path_factory.mktemp("checkout"))
            add_bias(checkout)
            environment = {
                "BATCHYIELD_JOURNAL": journal,
                "BATCHYIELD_API_KEYS_FILE": str(keys),
                "BATCHYIELD_RATE_LIMIT": str(RATE),
                "BATCHYIELD_DRAIN_SECONDS": "4",
                "BATCHYIELD_WATCH_SECONDS": "0",
                "BATCHYIELD_ACCESS_LOG": "0",
            }
            made.append(Replica(host, route, checkout, **environment))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Replica.start, made))
        yield made
        for replica in made:
            if replica.running:
                replica.stop()


@pytest.fixture(scope="module")
def balancer(network, replicas):
    """The URL of the balancer."""
    with haproxy(network.host(13), *replicas) as url:
        yield url


@pytest.fixture(scope="module")
def clients(replicas):
    """A client of each replica."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(replica.client(**KEY)) for replica in replicas]


class ClientLoad(Load):
    """The same by the library's client, which repeats failed requests with their `Idempotency-Key`; one batch each."""

    def _call(self, connection):
        with Client(self.url, KEY["x-api-key"]) as client:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                id_ = f"{self.name}{connection}-{number}"
                try:
                    yield_ = client.predict_one({"id": id_, "B14": 400.0 + number % 97 / 100}).yield_
                except ClientError as error:
                    self._record(lambda error=error: self.refusals.update([str(error)]))
                else:
                    self._record(lambda id_=id_, yield_=yield_: self.acknowledged.update({id_: [yield_]}))


@pytest.fixture
def plain(balancer, postgres):
    """Callers that send each request once, through the balancer; at the end no acknowledged prediction is lost.

    It may be there twice: HAProxy sends a request again if the host of a connection that was open before vanished.
    """
    since = time.time_ns()
    with Load(balancer, CALLERS, name=f"{since}.", headers=KEY) as load:
        load.wait_for_more(50)
        yield load
    found = lost(load, postgres[1], since // 1000)
    assert {id_: stored for id_, (yields, stored) in found.items() if set(stored or ()) != set(yields)} == {}


@pytest.fixture
def keyed(balancer, postgres):
    """Callers that repeat failed requests; at the end none has failed, and each prediction is there once."""
    since = time.time_ns()
    with ClientLoad(balancer, CALLERS, name=f"{since}.") as load:
        load.wait_for_more(50)
        yield load
    stored = {}
    for row in rows_of(postgres[1], since // 1000):
        stored.setdefault(row.batch.id, []).append(row.prediction.yield_)
    assert {id_: stored.get(id_) for id_ in load.acknowledged} == load.acknowledged
    assert not load.refusals


def wait_for_each(*loads):
    """Return once each caller has sent a request and received its answer."""

    def callers(acknowledged):
        return {re.search(r"(\d+)-\d+$", id_)[1] for id_ in acknowledged}

    for load in loads:
        for _ in range(2):  # the first may have been sent before
            before = set(load.acknowledged)
            load.wait_for(lambda load, before=before: len(callers(load.acknowledged.keys() - before)) == CALLERS)


def ask(client, rows, **headers):
    answer = client.post("/v1/predictions", json={"inputs": msgspec.to_builtins(rows)}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def answered(client):
    """The number of predictions of a replica."""
    text = client.get("/metrics").text
    return sum(map(float, re.findall(r"^batchyield_predictions_total\{.*\} (\S+)$", text, re.M)))


def wait_for_both(clients):
    """Return once the balancer sends requests to both replicas."""
    before = [answered(client) for client in clients]
    until(lambda: all(answered(client) > count for client, count in zip(clients, before, strict=True)))


class TestConfiguration:
    """deploy/replicas/haproxy.cfg."""

    def test_is_valid(self):
        """HAProxy accepts it."""
        if shutil.which("haproxy") is None:
            pytest.skip("not installed: haproxy")
        addresses = dict.fromkeys(("BALANCER", "REPLICA_A", "REPLICA_B"), "127.0.0.1:1")
        subprocess.run(["haproxy", "-c", "-f", CONFIGURATION], env=os.environ | addresses, check=True)

    def test_timeouts(self):
        """It waits for the slowest response, and closes idle connections before the service does."""
        text = CONFIGURATION.read_text()
        seconds = {name: int(value) for name, value in re.findall(r"timeout ([\w-]+) +(\d+)s", text)}
        settings = Settings()
        assert seconds["server"] > settings.body_seconds + settings.work_seconds
        assert seconds["client"] > settings.body_seconds
        assert seconds["http-keep-alive"] < settings.idle_seconds


@pytest.mark.nightly
class TestConsistency:
    """What a caller sees does not depend on the replica."""

    def test_monitoring(self, clients):
        """Drift and live error are computed from the journal, whichever replica got predictions and outcomes."""
        a, b = clients
        answers = ask(a, coming(150)).json()["predictions"]
        answers += ask(b, coming(350, 150, B14=raised(-40))).json()["predictions"]
        measured = [{"id": one["id"], "yield": round(one["yield"] - 0.03, 6)} for one in answers[:60]]
        assert b.post("/v1/outcomes", json={"outcomes": measured}).json()["matched"] == 60
        seen = [client.get("/v1/monitoring").json() for client in clients]
        assert seen[0]["window"] == seen[1]["window"]
        assert "B14" in seen[0]["window"]["drifted"]
        assert seen[0]["live"] == seen[1]["live"]
        assert seen[0]["live"]["outcomes"] == 60

    def test_bias(self, clients):
        """Every worker of both replicas comes to the same correction, with the same digest."""
        rows = coming(5, 62)

        def same():
            predicted = [ask(clients[n % 2], rows, connection="close").json()["predictions"] for n in range(8)]
            return predicted[0][0].get("bias") and all(one == predicted[0] for one in predicted) and predicted[0]

        before = until(same)
        outcome = {"outcomes": [{"id": "batch_60", "yield": 0.8}]}
        assert clients[0].post("/v1/outcomes", json=outcome).status_code == 200
        until(lambda: (now := same()) and now[0]["bias"]["digest"] != before[0]["bias"]["digest"])

    def test_idempotency(self, clients, postgres):
        """One request sent to both replicas at once is journalled once and answered twice alike."""
        for number in range(10):
            rows = coming(3, 520)
            barrier = threading.Barrier(2)

            def send(client, number=number, rows=rows, barrier=barrier):
                barrier.wait()
                return ask(client, rows, **{"idempotency-key": f"both-{number}", "x-request-id": f"both-{number}"})

            with ThreadPoolExecutor(2) as pool:
                first, second = pool.map(send, clients)
            assert first.content == second.content
            assert len([row for row in rows_of(postgres[1]) if row.request == f"both-{number}"]) == 3

    def test_keys(self, clients, keys):
        """A key in the shared file counts on both replicas, and until it is revoked."""
        before = keys.read_bytes()
        assert [client.get("/v1/model", headers=OTHER).status_code for client in clients] == [401, 401]
        keys.write_bytes(
            encode_keys([new_key(name, SCOPES, key["x-api-key"]) for name, key in (("line", KEY), ("o", OTHER))])
        )
        for content, status in ((None, 200), (before, 401)):
            if content:
                keys.write_bytes(content)
            for client in clients:
                until(lambda client=client, status=status: client.get("/v1/model", headers=OTHER).status_code == status)

    def test_rate_limit(self, clients):
        """The buckets of a key are those of one replica."""

        def left(client):
            return int(re.search(r"r=(\d+)", client.get("/v1/model").headers["ratelimit"])[1])

        for _ in range(50):
            left(clients[0])
        assert left(clients[1]) >= 5 * RATE - 1

    def test_swap(self, balancer, replicas, clients, postgres, plain, keyed):
        """While only one replica has the new model, each response and its row name the model that made them."""
        made = {}

        def answers(count):
            return {swapped(number) for number in range(count)}

        def swapped(number):
            id_ = f"swap-{len(made)}"
            with replicas[0].client(**KEY) as client:
                answer = client.post(
                    f"{balancer}/v1/predictions?bias=off",
                    json={"inputs": [{"B14": 400.0}]},
                    headers={"x-request-id": id_},
                ).json()
            made[id_] = answer["model"]["md5"]
            return answer["model"]["md5"], answer["predictions"][0]["yield"]

        before = answers(8)
        assert {yield_ for _, yield_ in before} == {A + 0.4}
        after = set()
        for replica in replicas:
            new = store_model(replica.checkout, B)
            shutil.copytree(ModelStore(replica.checkout / ".serving").path(new), replica.checkout / "new")
            models = ModelStore(replica.checkout / ".serving")
            assert deploy(models, models.add(replica.checkout / "new", new), START_SECONDS).problem == ""
            after = after or {(new.md5, B + 0.4)}
            if replica is replicas[0]:
                assert answers(16) == before | after
        assert answers(16) == after
        assert clients[0].get("/v1/model").json()["md5"] == clients[1].get("/v1/model").json()["md5"]
        stored = {row.request: row.pin.md5 for row in rows_of(postgres[1]) if row.request in made}
        assert stored == made
        wait_for_each(plain, keyed)
        assert not plain.refusals


@pytest.mark.nightly
class TestFailures:
    """A replica that ends or is cut off costs callers nothing that was acknowledged."""

    def test_kill(self, replicas, clients, plain, keyed):
        """A kill of all processes of a replica fails at most the requests that it held, and none with a key."""
        wait_for_both(clients)
        replicas[0].kill()
        wait_for_each(plain, keyed)
        assert set(plain.refusals) <= IN_FLIGHT
        assert plain.refusals.total() <= CALLERS
        replicas[0].start()
        wait_for_both(clients)
        assert plain.refusals.total() <= CALLERS

    def test_stop(self, replicas, clients, plain, keyed):
        """A replica that is stopped in order costs no request."""
        stopped = replicas[0]
        stopped.running.process.send_signal(signal.SIGTERM)
        stopped.running.process.wait(START_SECONDS)
        stopped.running.stopping = True
        stopped.stop()
        wait_for_each(plain, keyed)
        stopped.start()
        wait_for_both(clients)
        assert not plain.refusals

    def test_lost_host(self, network, clients, plain, keyed):
        """A host that vanishes without a word costs at most the requests that it held."""
        wait_for_both(clients)
        with network.unplugged(11):
            wait_for_each(plain, keyed)
            assert set(plain.refusals) <= IN_FLIGHT | {(504, "about:blank", True)}
            assert plain.refusals.total() <= CALLERS
        wait_for_both(clients)

    @pytest.mark.parametrize("number", [0, 1], ids=["direct", "pooler"])
    def test_database_partition(self, replicas, clients, postgres, plain, keyed, number):
        """A replica that cannot reach the database refuses, the balancer avoids it, and it recovers by itself."""
        route, client = replicas[number].route, clients[number]
        with postgres[0].cut_off(route):
            refused = client.post("/v1/predictions", json={"inputs": [{}]})
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:batchyield:not-journalled")
            assert refused.headers["retry-after"]
            assert client.get("/v1/monitoring").status_code == 503
            assert client.get("/health/ready").status_code == 200
            wait_for_each(plain, keyed)
        wait_for_both(clients)
        assert set(plain.refusals) <= {NOT_JOURNALLED}

    @pytest.mark.parametrize("number", [0, 1], ids=["direct", "pooler"])
    def test_partition_during_a_statement(self, replicas, postgres, number):
        """A statement that the database received, and whose answer is lost, ends the wait of its request."""
        server, url, _ = postgres
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        with (
            psycopg.connect(url) as blocker,
            psycopg.connect(url, autocommit=True) as observer,
            ThreadPoolExecutor(1) as pool,
            replicas[number].client(**KEY) as client,
        ):
            blocker.execute("lock table answer in access exclusive mode")
            asked = pool.submit(client.post, "/v1/predictions", json={"inputs": [{}]}, timeout=60)
            until(lambda: observer.execute(waiting).fetchone()[0])
            with server.cut_off(replicas[number].route):
                assert asked.result().status_code == 503
            blocker.rollback()
            until(lambda: client.post("/v1/predictions", json={"inputs": [{}]}).status_code == 200)

    def test_database_down(self, replicas, postgres, plain):
        """If no replica reaches the database, callers get the service's own refusal through the balancer."""
        routes = [replica.route for replica in replicas]
        with postgres[0].cut_off(*routes):
            plain.wait_for(lambda plain: plain.refusals[NOT_JOURNALLED] >= 30)
        wait_for_each(plain)
