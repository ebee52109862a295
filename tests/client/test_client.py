"""The client against a real service; what a service seldom does is played by a transport."""

import asyncio
import inspect
import io
import itertools
import math
import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.service import ROOT, START_SECONDS, Running, add_bias, environment, linear_onnx, make_checkout, python_of
from support.service import batches as made

from api.openapi.examples import BATCH, INPUTS, MISTYPED, sheet
from batchyield import client as package
from batchyield.cli.__main__ import main
from batchyield.client import (
    AsyncClient,
    Client,
    MixedModelsError,
    RefusedError,
    ReplyError,
    Retry,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
)
from batchyield.client.retry import parse_retry_after
from batchyield.plant.batch import Batch
from batchyield.serving.chunking import MAX_BATCHES, chunk_batches, chunk_csv, rebase_position
from batchyield.serving.outcomes import MAX_OUTCOMES, Outcome
from batchyield.versioning.storage.embedded_s3 import free_port

KEY = "k" * 32
AT_ONCE = Retry(attempts=3, first_wait=0.001)
MANY = MAX_BATCHES + 50


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def service(root):
    with Running(root, BATCHYIELD_API_KEY=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def client(service):
    with Client(service.url, KEY) as client:
        yield client


@pytest.fixture(scope="module")
def lines():
    """More lines than one request may hold, in the plant's own encoding."""
    return sheet([BATCH | {"id": f"sample_{n}", "B14": 400 + n % 40} for n in range(MANY)]).encode("GB18030")


def test_batches_and_mappings_are_predicted_in_order(client):
    answer = client.predict([Batch(id="a", B14=400), {"id": "b", "B14": 410}, MISTYPED])
    assert [(p.id, p.yield_) for p in answer.predictions] == [("a", 0.9), ("b", 0.91), ("sample_2", 0.92)]
    assert answer.predictions[2].warnings[0].field == "B9"
    assert answer.model.revision == "1" * 40
    assert client.predict_one(Batch(B14=400)).yield_ == 0.9


def test_a_number_that_is_none_is_a_missing_reading(client):
    assert client.predict_one({"B14": float("nan")}) == client.predict_one({})


def test_more_than_a_request_may_hold_is_answered_in_order(client):
    answer = client.predict({"id": str(n), "B14": 400 + n % 40} for n in range(MANY))
    assert [p.id for p in answer.predictions] == [str(n) for n in range(MANY)]
    assert answer.predictions[MANY - 1].yield_ == pytest.approx(0.9 + (MANY - 1) % 40 / 1000, abs=1e-6)


def test_more_than_are_explained_at_a_time_are_explained(client):
    answer = client.explain(made(101))
    assert [p.id for p in answer.predictions] == [f"batch {n}" for n in range(101)]
    for prediction in answer.predictions:
        why = prediction.explanation
        effects = sum(c.effect for c in why.contributions)
        assert why.baseline + effects + why.rest == pytest.approx(prediction.yield_, abs=1e-6)


def test_a_file_is_predicted_from_its_path_its_bytes_and_open(client, tmp_path):
    content = sheet(INPUTS["inputs"]).encode("GB18030")
    (tmp_path / "batches.csv").write_bytes(content)
    answers = [client.predict_csv(s) for s in (tmp_path / "batches.csv", content, io.BytesIO(content))]
    assert answers[0] == answers[1] == answers[2] == client.predict(INPUTS["inputs"])
    assert client.predict_csv(str(tmp_path / "batches.csv")) == answers[0]


def test_a_file_is_scored_in_parts_to_what_the_service_answers_in_one(service, client, lines):
    parts = list(client.score_csv(lines))
    assert len(parts) == 2
    headers = {"content-type": "text/csv", "authorization": f"Bearer {KEY}"}
    few = b"".join(lines.splitlines(keepends=True)[:100])
    whole = service.post("/v1/predictions/csv", content=few, headers=headers).content
    assert b"".join(parts).startswith(whole)
    assert b"".join(parts).count(b"\n") == MANY + 1
    assert [p.yield_ for p in client.predict_csv(few).predictions] == [
        float(line.split(b",")[1]) for line in whole.splitlines()[1:]
    ]


def test_measured_yields_are_told_and_matched_and_may_be_told_again(client):
    client.predict([{"id": "measured", "B14": 400}])
    output = [{"id": "measured", "yield": 0.91}, Outcome("never predicted", 0.9)]
    kept = client.record_outcomes(output)
    assert [(one.id, one.result, one.matched) for one in kept.outcomes] == [
        ("measured", "recorded", 1),
        ("never predicted", "recorded", 0),
    ]
    assert kept.outcomes[0].models == (client.model().md5,)
    assert (kept.matched, kept.unmatched) == (1, 1)
    assert [one.result for one in client.record_outcomes(output).outcomes] == ["unchanged"] * 2
    assert client.record_outcomes([Outcome("measured", 0.92)]).outcomes[0].result == "corrected"


def test_a_measured_yield_is_withdrawn_whatever_its_batch_is_called(client):
    """A slash in a name is a part of it."""
    name = "2026/11 批?1"
    client.record_outcomes([{"id": name, "yield": 0.91}])
    assert client.withdraw_outcome(name).yield_ == 0.91
    assert client.withdraw_outcome(name).yield_ is None


def test_bias_update_is_on_unless_it_is_turned_off(tmp_path):
    """Answers have the correction and what it comes from; `bias=False` gives the model alone, also of a sheet."""
    root = make_checkout(tmp_path)
    add_bias(root)
    with Running(root) as running, Client(running.url) as client:
        measured = [{"id": f"sample_{n}", "B14": 400} for n in range(10)]
        client.predict(measured)
        client.record_outcomes([{"id": batch["id"], "yield": 0.92} for batch in measured])
        batch = {"id": "sample_10", "B14": 400}
        deadline = time.monotonic() + START_SECONDS
        while not (made := client.predict_one(batch, record=False)).bias:
            assert time.monotonic() < deadline
        assert (made.unbiased, made.bias.latest, made.bias.batches) == (0.9, "sample_9", 10)
        alone = client.predict_one(batch, bias=False)
        assert (alone.yield_, alone.bias, alone.unbiased) == (0.9, msgspec.UNSET, msgspec.UNSET)
        assert client.explain([batch], bias=False).predictions[0].yield_ == 0.9
        lines = sheet([BATCH | batch]).encode()
        assert client.predict_csv(lines).predictions[0].bias.digest == made.bias.digest
        assert client.predict_csv(lines, bias=False).predictions[0].yield_ == 0.9
        assert b"".join(client.score_csv(lines, bias=False)).splitlines()[1].startswith(b"sample_10,0.9,")


def test_more_outcomes_than_a_request_may_hold_are_kept_in_order_and_a_wrong_one_is_placed(client):
    output = [Outcome(f"outcome {n % (MAX_OUTCOMES + 1)}", 0.9) for n in range(MAX_OUTCOMES + 2)]
    kept = client.record_outcomes(output)
    assert [one.id for one in kept.outcomes] == [one.id for one in output]
    assert [one.result for one in kept.outcomes[-2:]] == ["recorded", "unchanged"]
    assert (kept.matched, kept.unmatched) == (0, MAX_OUTCOMES + 1)
    with pytest.raises(RefusedError) as raised:
        client.record_outcomes([*output, {"id": "too much", "yield": 9}])
    assert [v.where for v in raised.value.violations] == [f"$.outcomes[{MAX_OUTCOMES + 2}].yield"]


def test_the_model_and_whether_it_is_ready_are_told(client):
    model = client.model()
    assert model.card.name == "line"
    assert client.ready().md5 == model.md5 == client.predict([{}]).model.md5


def test_loopback_without_proxy(service, monkeypatch):
    """A proxy in the environment is not used for a service on this machine, though NO_PROXY lacks 127.0.0.1."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost")
    with Client(service.url, KEY, retry=AT_ONCE) as direct:
        assert direct.ready()


def test_a_refusal_tells_each_place_in_what_was_given(client, lines):
    with pytest.raises(RefusedError, match=r"422 The input cannot be used: \$\.inputs\[10002\]\.A6") as raised:
        client.predict([{}] * (MAX_BATCHES + 2) + [{"A6": "hot"}])
    assert [v.where for v in raised.value.violations] == ["$.inputs[10002].A6"]
    assert raised.value.kind == "invalid-input"
    assert re.fullmatch(r"[0-9a-f]{16}", raised.value.request_id)
    spoilt = lines.splitlines(keepends=True)
    spoilt[MAX_BATCHES + 10] = b"1,2\n"
    with pytest.raises(RefusedError) as raised:
        client.predict_csv(b"".join(spoilt))
    assert [v.where for v in raised.value.violations] == [f"line {MAX_BATCHES + 11}"]
    with pytest.raises(RefusedError, match=">= 1"):
        client.predict([])


def test_a_key_is_needed_and_is_never_shown(service, monkeypatch):
    with (
        Client(service.url, "w" * 32) as client,
        pytest.raises(UnauthorizedError, match="BATCHYIELD_API_KEY") as raised,
    ):
        client.model()
    assert "www" not in str(raised.value) + repr(raised.value) + repr(client)
    monkeypatch.setenv("BATCHYIELD_API_KEY", KEY)
    monkeypatch.setenv("BATCHYIELD_URL", service.url)
    with Client() as client:
        assert client.model().name == "line"


class Watched(httpx.HTTPTransport):
    """Notes the coding and the size of what passes."""

    def __init__(self, sent):
        super().__init__()
        self.sent = sent

    def handle_request(self, request):
        self.sent.append((request.headers.get("content-encoding"), len(request.content)))
        return super().handle_request(request)


@pytest.mark.parametrize("without_zstd", [False, True])
def test_large_bodies_are_compressed(service, client, monkeypatch, without_zstd):
    if without_zstd:
        monkeypatch.setattr("batchyield.client.requests.zstandard", None)
    sent = []
    inputs = [BATCH] * 500
    with Client(service.url, KEY, transport=Watched(sent)) as other:
        assert other.predict(inputs) == client.predict(inputs)
        other.predict([BATCH])
    assert sent[0][0] == ("gzip" if without_zstd else "zstd")
    assert sent[0][1] < 10_000
    assert sent[1][0] is None


def test_the_same_calls_can_be_awaited(service, client, lines):
    async def ask():
        async with AsyncClient(service.url, KEY) as client:
            few = b"".join(lines.splitlines(keepends=True)[:3])
            calls = [client.predict(INPUTS["inputs"]), client.predict_csv(few), client.explain([BATCH])]
            calls += [client.record_outcomes([Outcome("sent before", 0.9)])]
            output = await asyncio.gather(*calls, client.model(), client.ready(), client.predict_one(BATCH))
            return [*output, [part async for part in client.score_csv(few)]]

    few = b"".join(lines.splitlines(keepends=True)[:3])
    client.record_outcomes([Outcome("sent before", 0.9)])
    expected = [client.predict(INPUTS["inputs"]), client.predict_csv(few), client.explain([BATCH])]
    expected += [client.record_outcomes([Outcome("sent before", 0.9)]), client.model()]
    expected += [client.ready(), client.predict_one(BATCH), list(client.score_csv(few))]
    assert asyncio.run(ask()) == expected


def test_files_are_read_beside_the_event_loop(tmp_path, lines, service):
    """While a slow file is read, the event loop goes on."""
    few = b"".join(lines.splitlines(keepends=True)[:3])
    runs = threading.Event()

    def write(pipe):
        with pipe.open("wb") as file:
            file.write(few if runs.wait(START_SECONDS) else b"the event loop was blocked")

    async def ask(call):
        pipe = tmp_path / call.__name__
        os.mkfifo(pipe)
        writer = threading.Thread(target=write, args=(pipe,))
        writer.start()
        pending = asyncio.create_task(call(pipe))
        while not pending.done() and not runs.is_set():
            await asyncio.sleep(0)
            runs.set()
        answer = await pending
        writer.join()
        runs.clear()
        return answer

    async def both():
        async with AsyncClient(service.url, KEY) as client:

            async def score(path):
                return [part async for part in client.score_csv(path)]

            async def predict(path):
                return await client.predict_csv(path)

            return await ask(predict), await ask(score)

    predictions, parts = asyncio.run(both())
    assert len(predictions.predictions) == 2
    assert b"".join(parts).count(b"\n") == 3


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"attempts": 1.5}, {"attempts": math.nan}, {"first_wait": -1.0}, {"longest_wait": math.nan}],
)
def test_wrong_retry_policy(wrong):
    """A policy without an attempt, or with a negative wait, is refused where it is made."""
    with pytest.raises(ValueError, match="expected"):
        Retry(**wrong)


def test_both_clients_have_the_same_calls():
    def calls(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert calls(Client) == calls(AsyncClient)
    for name in calls(Client) - {"close"}:
        blocking, awaited = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.signature(blocking).parameters == inspect.signature(awaited).parameters
        assert blocking.__doc__ == awaited.__doc__
    options = [inspect.signature(kind).parameters.values() for kind in (Client, AsyncClient)]
    for one, other in zip(*options, strict=True):
        assert one.replace(annotation="") == other.replace(annotation="")
    assert set(package.__all__) >= {"Client", "AsyncClient"}


PIN = {"version": "1", "revision": "2", "md5": "3"}
ANSWER = {"model": PIN, "predictions": [{"id": None, "yield": 0.9, "lower": 0.8, "upper": 1.0, "warnings": []}]}


def playing(*outcomes):
    """A transport that gives these outcomes one by one, and the list of what it was asked."""
    asked, left = [], list(outcomes)

    def play(request):
        asked.append(request)
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return httpx.MockTransport(play), asked


def busy(status=503, **headers):
    problem = {"type": "urn:batchyield:busy", "title": "The service is busy", "status": status, "detail": "come back"}
    return httpx.Response(status, json=problem, headers={"content-type": "application/problem+json"} | headers)


@pytest.mark.parametrize(
    "passing",
    [busy(), busy(429), httpx.Response(502), httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.ReadError("")],
    ids=["503", "429", "502", "no connection", "timeout", "cut off"],
)
def test_what_passes_is_tried_again(passing):
    transport, asked = playing(passing, passing, httpx.Response(200, json=ANSWER))
    with Client("http://x", transport=transport, retry=AT_ONCE) as client:
        assert client.predict([{}]).model.md5 == "3"
    assert len(asked) == 3
    assert {request.content for request in asked} == {b'{"inputs":[{}]}'}


@pytest.mark.parametrize("status", [400, 401, 403, 408, 413, 415, 422, 500])
def test_what_does_not_pass_is_not_tried_again(status):
    transport, asked = playing(busy(status))
    with (
        Client("http://x", transport=transport, retry=AT_ONCE) as client,
        pytest.raises(package.ClientError) as raised,
    ):
        client.predict([{}])
    assert len(asked) == 1
    assert raised.value.status == status
    assert isinstance(raised.value, RefusedError if status < 500 else UnavailableError)


def test_the_service_says_when_to_come_back(monkeypatch):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    transport, _ = playing(busy(**{"retry-after": "7"}), httpx.Response(200, json=ANSWER))
    with Client("http://x", transport=transport) as client:
        client.predict([{}])
    assert waited == [7.0]
    transport, asked = playing(busy(**{"retry-after": "3600"}))
    with Client("http://x", transport=transport) as client, pytest.raises(UnavailableError):
        client.predict([{}])
    assert len(asked) == 1


def test_waits_grow_and_end(monkeypatch):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    transport, _ = playing(*[busy()] * 6)
    retry = Retry(attempts=6, first_wait=1, longest_wait=4)
    with Client("http://x", transport=transport, retry=retry) as client, pytest.raises(UnavailableError):
        client.predict([{}])
    assert all(low <= wait <= high for wait, low, high in zip(waited, (0.5, 1, 2, 2, 2), (1, 2, 4, 4, 4), strict=True))


def test_retry_after_is_seconds_or_a_date():
    assert parse_retry_after("5") == 5
    assert 50 < parse_retry_after(format_datetime(datetime.now(UTC) + timedelta(minutes=1))) <= 60
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for neither in ("", "soon", "-1", "1.5", "²"):
        assert parse_retry_after(neither) == 0


def test_where_nothing_listens_it_says_so():
    with (
        Client(f"http://127.0.0.1:{free_port()}", retry=AT_ONCE) as client,
        pytest.raises(UnreachableError, match=r"tried 3 times\)\n  check that the service runs"),
    ):
        client.ready()


@pytest.mark.parametrize("content", [b"<html>", b"{}", b"\xff"])
def test_another_service_is_told_apart(content):
    for call in ("model", "ready"):
        transport, _ = playing(httpx.Response(200, content=content, headers={"content-type": "text/html"}))
        with (
            Client("http://x", transport=transport) as client,
            pytest.raises(ReplyError, match="check that this is the URL"),
        ):
            getattr(client, call)()
    transport, _ = playing(httpx.Response(200, content=content))
    with Client("http://x", transport=transport) as client, pytest.raises(ReplyError, match="not a CSV"):
        list(client.score_csv(b"a\n1\n"))
    transport, _ = playing(httpx.Response(404, content=content))
    with Client("http://x", transport=transport) as client, pytest.raises(RefusedError, match="404 Not Found"):
        client.model()


def test_redirect():
    """A redirect, as from http to https, is not followed, and its target is named."""
    transport, _ = playing(httpx.Response(302, headers={"location": "https://x/v1/model"}))
    with (
        Client("http://x", transport=transport) as client,
        pytest.raises(RefusedError, match=r"302 Found.*returned Found: the service's URL .* near https://x/v1/model"),
    ):
        client.model()


def answered_by(*models):
    sizes = itertools.cycle([MAX_BATCHES, 1])
    return [
        httpx.Response(200, json={"model": PIN | {"md5": md5}, "predictions": ANSWER["predictions"] * next(sizes)})
        for md5 in models
    ]


def test_an_answer_of_two_models_is_refused_or_asked_for_again():
    inputs = [{}] * (MAX_BATCHES + 1)
    transport, _ = playing(*answered_by("a", "b"))
    with (
        Client("http://x", transport=transport) as client,
        pytest.raises(MixedModelsError, match="a, later ones by b"),
    ):
        client.predict(inputs)
    transport, asked = playing(*answered_by("a", "b", "b", "b"))
    with Client("http://x", transport=transport, restart_on_model_change=True) as client:
        answer = client.predict(inputs)
    assert answer.model.md5 == "b"
    assert len(answer.predictions) == len(inputs)
    assert len(asked) == 4
    transport, _ = playing(*answered_by(*"ababab"))
    with (
        Client("http://x", transport=transport, restart_on_model_change=True) as client,
        pytest.raises(MixedModelsError),
    ):
        client.predict(inputs)


def test_a_file_scored_by_two_models_is_refused(lines):
    pins = [{"x-model-version": "1", "x-model-revision": "2", "x-model-md5": md5} for md5 in "ab"]
    transport, _ = playing(*[httpx.Response(200, text="id,yield,lower,upper\n", headers=pin) for pin in pins])
    with Client("http://x", transport=transport) as client, pytest.raises(MixedModelsError):
        list(client.score_csv(lines))


def test_the_client_loads_no_model():
    code = "import sys, batchyield.client; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [python_of("client"), "-c", code]
    done = subprocess.run(command, env=environment(ROOT), capture_output=True, text=True, check=True, timeout=30)
    assert not set(done.stdout.split()) & {"numpy", "onnxruntime", "pandas", "litestar", "api", "yaml"}


def test_what_asks_predicts_or_reads_the_journal_loads_where_files_cannot_be_locked():
    """As on Windows, where the modules that only POSIX has are missing."""
    modules = (
        "client",
        "serving.predictor",
        "serving.artifact",
        "serving.model_package",
        "cli",
        "review.journal_replay",
    )
    code = f"""
import sys, importlib
sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios")))
for name in {modules}:
    importlib.import_module(f"batchyield.{{name}}")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(ROOT), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


rows = st.lists(st.sampled_from([b"a,1\n", b"b,2\r\n", b"\n", b" , \n", b"\xd1\xf9,3\n", b"c,4"]), max_size=12)


@given(rows, st.integers(1, 5), st.integers(1, 40))
@settings(deadline=None)
def test_portions_of_a_file_hold_its_lines_in_order_but_blank_ones_at_its_end(rows, most, most_bytes):
    content = b"h,x\n" + b"".join(rows)
    portions = list(chunk_csv(io.BytesIO(content), most, most_bytes))
    together = b"h,x\n" + b"".join(portion.content.removeprefix(b"h,x\n") for portion in portions)
    assert content.startswith(together)
    assert not content.removeprefix(together).strip(b" ,\r\n")
    lines = [portion.content.count(b"\n") - 1 for portion in portions]
    assert [portion.before for portion in portions] == [sum(lines[:n]) for n in range(len(portions))]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers()), max_size=9), st.integers(1, 4), st.integers(1, 60))
def test_portions_of_batches_hold_them_in_order(inputs, most, most_bytes):
    portions = list(chunk_batches(inputs, most, most_bytes))
    decoded = [msgspec.json.decode(portion.content)["inputs"] for portion in portions]
    assert [one for portion in decoded for one in portion] == inputs
    assert all(len(portion) <= most for portion in decoded)


def test_places_are_told_of_the_whole():
    assert rebase_position("line 1, column A6", 10) == "line 1, column A6"
    assert rebase_position("line 2, column A6: and line 3", 10) == "line 12, column A6: and line 13"
    assert rebase_position("$.inputs[0].A6: x", 10) == "$.inputs[10].A6: x"
    assert rebase_position("a deadline 7", 10) == "a deadline 7"


def scored(*arguments, capfdbinary):
    code = main(["model", "score", *map(str, arguments)])
    return (code, *capfdbinary.readouterr())


def test_score_is_the_same_with_and_without_a_service(service, root, tmp_path, lines, monkeypatch, capfdbinary):
    monkeypatch.setenv("BATCHYIELD_API_KEY", KEY)
    (tmp_path / "batches.csv").write_bytes(lines)
    code, out, output = scored(tmp_path / "batches.csv", "--url", service.url, capfdbinary=capfdbinary)
    assert (code, output) == (0, b"")
    local = ["--local", "--lock", root / "dvc.lock", "--quiet", "--out", tmp_path / "scored.csv"]
    code, nothing, output = scored(tmp_path / "batches.csv", *local, capfdbinary=capfdbinary)
    assert (code, nothing, output) == (0, b"", b"")
    assert (tmp_path / "scored.csv").read_bytes() == out


@pytest.mark.parametrize("quiet", [False, True])
def test_score_shows_its_progress_on_a_terminal(root, tmp_path, lines, quiet):
    """Progress goes to standard error if that is a terminal, and not with --quiet."""
    (tmp_path / "batches.csv").write_bytes(lines)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-m", "batchyield.cli", "model", "score", str(tmp_path / "batches.csv"), "--local"]
    command += ["--lock", str(root / "dvc.lock"), "--out", str(tmp_path / "scored.csv"), *["--quiet"] * quiet]
    done = subprocess.run(command, env=environment(root), stderr=theirs, timeout=300)
    os.write(theirs, b"end")
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"end"):  # a terminal may give its output in parts
        shown += os.read(ours, 2**16)
    os.close(ours)
    assert done.returncode == 0
    assert (b"10,050 batches" in shown) is not quiet


def test_score_leaves_no_file_where_it_fails(root, tmp_path, lines, capfdbinary):
    (tmp_path / "batches.csv").write_bytes(lines + b"1,2\n")
    local = ["--local", "--lock", root / "dvc.lock", "--out", tmp_path / "scored.csv"]
    code, _, output = scored(tmp_path / "batches.csv", *local, capfdbinary=capfdbinary)
    assert code == 2
    assert f"line {MANY + 2}: expected 43 cells, found 2" in output.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["batches.csv"]
    code, _, output = scored(tmp_path / "none.csv", capfdbinary=capfdbinary)
    assert code == 2
    assert b"none.csv cannot be read: No such file" in output


def test_score_opens_the_pinned_model_only(tmp_path, lines, capfdbinary):
    other = make_checkout(tmp_path / "other")
    (other / "data/model/model.onnx").write_bytes(linear_onnx(0.4))
    (tmp_path / "batches.csv").write_bytes(lines)
    code, out, output = scored(
        tmp_path / "batches.csv", "--local", "--lock", other / "dvc.lock", capfdbinary=capfdbinary
    )
    assert (code, out) == (2, b"")
    assert b"is not the pinned file" in output
