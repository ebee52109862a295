"""POST /v1/predictions and /v1/predictions/csv, as a caller sees them."""

import csv
import io
import json

import msgspec
import pytest
from api_fixtures import HALF_WIDTH, make_checkout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from api.app import create_app
from api.examples import BATCH, INPUTS, MISTYPED, sheet
from api.settings import Settings
from batchyield.batch import ENCODING, READINGS

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}
LINES = sheet([BATCH, MISTYPED])

# One client for all examples: the service keeps nothing between requests.
FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = make_checkout(tmp_path_factory.mktemp("model"))
    with TestClient(create_app(Settings(lock=str(root / "dvc.lock"), revision="1" * 40))) as client:
        yield client


def post(client, content, **headers):
    return client.post("/v1/predictions", content=content, headers=JSON | headers)


def refused(response, status, kind):
    """The problem of a refusal, which has the form of all refusals."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:batchyield:{kind}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"].startswith("/v1/predictions")
    return problem


def places(problem):
    return [violation["where"] for violation in problem["violations"]]


def test_answers_every_input_in_order_with_the_pin(client):
    answer = client.post("/v1/predictions", json=INPUTS)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["model"] == {
        "version": "unreleased",
        "revision": "1" * 40,
        "md5": client.get("/v1/model").json()["md5"],
    }
    clean, mistyped = body["predictions"]
    expected = {"yield": 0.9, "lower": 0.9 - HALF_WIDTH, "upper": 0.9 + HALF_WIDTH}
    assert clean == {"id": "sample_1", **expected, "warnings": []}
    assert mistyped["id"] == "sample_2"
    assert mistyped["yield"] == 0.92
    assert [(w["field"], w["kind"]) for w in mistyped["warnings"]] == [("B9", "full_width")]
    assert "17；00-18:30" in mistyped["warnings"][0]["message"]


def test_every_reading_may_be_null_or_absent(client):
    nulls = {reading.name: None for reading in READINGS}
    empty, null = post(client, json.dumps({"inputs": [{}, nulls]})).json()["predictions"]
    assert empty == null
    assert empty["id"] is None


def test_ten_thousand_are_answered_and_one_more_is_not(client):
    answer = post(client, b'{"inputs":[' + b",".join([b"{}"] * 10_000) + b"]}")
    assert len(answer.json()["predictions"]) == 10_000
    problem = refused(post(client, b'{"inputs":[' + b",".join([b"{}"] * 10_001) + b"]}"), 422, "invalid-input")
    assert problem["violations"] == [{"where": "$.inputs", "problem": "Expected `array` of length <= 10000"}]


def test_a_large_body_is_answered_like_a_small_one(client):
    many = {"inputs": [BATCH | {"id": str(n)} for n in range(500)]}
    text = json.dumps(many)
    assert len(text) > Settings().inline_body_bytes
    large = post(client, text).json()["predictions"]
    small = post(client, json.dumps({"inputs": many["inputs"][:1]})).json()["predictions"]
    assert large[0] == small[0]
    assert [p["id"] for p in large] == [str(n) for n in range(500)]


@pytest.mark.parametrize(
    ("inputs", "where"),
    [
        ([BATCH, BATCH, BATCH, {"A6": "29"}], "$.inputs[3].A6"),
        ([{"A5": 600}], "$.inputs[0].A5"),
        ([{"A1": True}], "$.inputs[0].A1"),
        ([{"A1": 1e7}], "$.inputs[0].A1"),
        ([{"A5": "x" * 65}], "$.inputs[0].A5"),
        ([{"id": 7}], "$.inputs[0].id"),
        ([BATCH, {"A99": 1}], "$.inputs[1].A99"),
        ([{"a`b - at `$": 1}], "$.inputs[0].a`b - at `$"),
        ([None], "$.inputs[0]"),
        ([[]], "$.inputs[0]"),
        ([], "$.inputs"),
        ({}, "$.inputs"),
        (None, "$.inputs"),
    ],
)
def test_a_wrong_value_is_refused_with_its_index_and_field(client, inputs, where):
    problem = refused(post(client, json.dumps({"inputs": inputs})), 422, "invalid-input")
    assert places(problem) == [where]
    assert problem["violations"][0]["problem"]


@pytest.mark.parametrize("body", ["[]", "7", "null", '"text"', "{}", '{"input": []}', '{"inputs": [{}], "more": 1}'])
def test_a_body_of_another_form_is_refused(client, body):
    assert places(refused(post(client, body), 422, "invalid-input"))[0].startswith("$")


def test_every_bad_batch_is_named_up_to_twenty(client):
    inputs = [{"A6": "bad"} if n % 2 else BATCH for n in range(100)]
    problem = refused(post(client, json.dumps({"inputs": inputs})), 422, "invalid-input")
    assert places(problem) == [f"$.inputs[{n}].A6" for n in range(1, 41, 2)]
    assert problem["detail"].startswith("$.inputs[1].A6: Expected `float | null`, got `str`; and 19 more")


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b'{"inputs":[{"A1":1}', b'{"inputs":[{}]} trailing', b'{"inputs":[{"A1":NaN}]}',
        b'{"inputs":[{"A1":Infinity}]}', b'{"inputs":[{"A1":-Infinity}]}', b'{"inputs":[{"A1":01}]}',
        b'{"inputs":[{"id":"\xff"}]}', b'{"inputs":[{"\xc3":1}]}', b'{"inputs":[{"id":"\\ud800"}]}',
        b'{"inputs":[{"\\udc00":1}]}', b'\xef\xbb\xbf{"inputs":[{}]}', b'{"inputs":[{},]}', b"id,A1\n1,2\n",
        "{}".encode("utf-16"), b"\x00" * 100,
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(client, body):
    refused(post(client, body), 400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"inputs":' * 200_000,
        b'{"inputs":[' + b'{"A1":' * 100_000,
        b'{"inputs":[{"A1":' + b"[" * 300_000 + b"]" * 300_000 + b"}]}",
        b'{"inputs":[{"A1":' + b"9" * 100_000 + b"}]}",
        b'{"inputs":[{"A1":1e999999}]}',
        b'{"inputs":[{"A1":-1e400}]}',
        b'{"inputs":[{"id":"' + b"x" * 100_000 + b'"}]}',
        b'{"inputs":[{"' + b"x" * 100_000 + b'":1}]}',
    ],
    ids=range(9),
)
def test_deep_long_and_huge_json_is_refused(client, body):
    assert post(client, body).status_code in (400, 422)


def test_of_a_key_given_twice_the_last_counts(client):
    answer = post(client, b'{"inputs":[{"B14":1,"B14":400}]}')
    assert answer.json()["predictions"][0]["yield"] == 0.9


@pytest.mark.parametrize("sent", ["text/plain", "text/csv", "application/x-www-form-urlencoded", "", "json"])
def test_another_content_type_is_refused(client, sent):
    problem = refused(post(client, json.dumps(INPUTS), **{"content-type": sent}), 415, "unsupported-media-type")
    assert "application/json" in problem["detail"]


def test_parameters_of_the_content_type_are_no_matter(client):
    assert post(client, json.dumps(INPUTS), **{"content-type": "Application/JSON; charset=utf-8"}).status_code == 200


def test_a_compressed_body_is_refused(client):
    refused(post(client, b"\x1f\x8b", **{"content-encoding": "gzip"}), 415, "unsupported-media-type")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/predictions/csv"])
def test_another_method_is_refused(client, method, path):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def rows(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.text)))


@pytest.mark.parametrize("encoding", [ENCODING, "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("media_type", ["text/csv", "text/csv; charset=gb18030", "application/vnd.ms-excel"])
def test_answers_the_plant_s_csv_in_order(client, encoding, ends, media_type):
    content = LINES.replace("\n", ends).encode(encoding)
    answer = client.post("/v1/predictions/csv", content=content, headers={"content-type": media_type})
    low, high = 0.9 - HALF_WIDTH, 0.9 + HALF_WIDTH
    assert rows(answer) == [
        ["id", "yield", "lower", "upper"],
        ["sample_1", "0.9", str(low), str(high)],
        ["sample_2", "0.92", "0.88875", "0.95125"],
    ]


def test_csv_carries_the_pin_in_its_headers(client):
    answer = client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV)
    assert answer.headers["x-model-version"] == "unreleased"
    assert answer.headers["x-model-revision"] == "1" * 40
    assert answer.headers["x-model-md5"] == client.get("/v1/model").json()["md5"]
    assert answer.headers["x-cell-warnings"] == "1"


def test_csv_and_json_answer_alike(client):
    of_json = client.post("/v1/predictions", json=INPUTS).json()
    of_csv = client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV | {"accept": "application/json"})
    assert of_csv.json() == of_json
    assert rows(client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV))[1:] == [
        [p["id"], str(p["yield"]), str(p["lower"]), str(p["upper"])] for p in of_json["predictions"]
    ]


def test_the_yield_column_may_be_there(client):
    header, *lines = LINES.splitlines()
    with_yields = "\n".join([f"{header},收率", *(f"{line},0.9" for line in lines)])
    answer = client.post("/v1/predictions/csv", content=with_yields.encode(ENCODING), headers=CSV)
    assert rows(answer) == rows(client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV))


def test_a_browser_may_send_the_file_in_a_form(client):
    form = {"file": ("批次.csv", LINES.encode(ENCODING), "text/csv")}
    answer = client.post("/v1/predictions/csv", files=form)
    assert rows(answer) == rows(client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV))


def test_a_name_that_needs_quotes_gets_them(client):
    named = LINES.replace("sample_1", '"a ""b"", c"')
    assert rows(client.post("/v1/predictions/csv", content=named.encode(), headers=CSV))[1][0] == 'a "b", c'


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (LINES.replace(",B14", ",B15").encode(), "line 1"),
        (LINES.replace("sample_2,", "sample_2,7,").encode(), "line 3"),
        (b"", "line 1"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "line 3"),
        (LINES.encode("utf-16"), "line 1"),
        (LINES.encode(ENCODING) + b"\xff\xff,\n", "line 4"),
        (LINES.splitlines(keepends=True)[0].encode(), "line 1"),
    ],
    ids=["column", "ragged", "empty", "image", "utf-16", "bad bytes", "no rows"],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(client, content, where):
    problem = refused(client.post("/v1/predictions/csv", content=content, headers=CSV), 422, "invalid-input")
    assert places(problem)[0].startswith(where)


def test_a_file_of_more_than_ten_thousand_rows_is_refused(client):
    header, line, _ = LINES.splitlines(keepends=True)
    many = "".join([header, *(line.replace("sample_1", f"sample_{n}") for n in range(10_001))])
    problem = refused(client.post("/v1/predictions/csv", content=many.encode(), headers=CSV), 422, "invalid-input")
    assert "10001 batches; send 1 to 10000" in problem["detail"]


@pytest.mark.parametrize(
    ("content", "media_type", "status", "kind"),
    [
        (b"", "multipart/form-data; boundary=x", 400, "malformed"),
        (b"--x\r\nnot a header\r\n\r\n", "multipart/form-data; boundary=x", 400, "malformed"),
        (b"--x--\r\n", "multipart/form-data", 400, "malformed"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422, "invalid-input"),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n', "multipart/form-data; boundary=x",
         422, "invalid-input"),
        (LINES.encode(), "application/json", 415, "unsupported-media-type"),
        (LINES.encode(), "application/octet-stream", 415, "unsupported-media-type"),
    ],
)  # fmt: skip
def test_a_form_without_one_file_is_refused(client, content, media_type, status, kind):
    refused(client.post("/v1/predictions/csv", content=content, headers={"content-type": media_type}), status, kind)


def test_two_files_are_one_too_many(client):
    form = [("a", ("a.csv", LINES.encode(), "text/csv")), ("b", ("b.csv", LINES.encode(), "text/csv"))]
    assert "2 files" in refused(client.post("/v1/predictions/csv", files=form), 422, "invalid-input")["detail"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(list(BATCH)), inner),
    max_leaves=20,
)
nearly = st.fixed_dictionaries(
    {"inputs": st.lists(st.dictionaries(st.sampled_from(list(BATCH)), anything), max_size=3)}
)


def answers_or_refuses(answer):
    """No body whatever is the service's fault."""
    if answer.status_code == 200:
        return
    assert answer.status_code in (400, 422), answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert "Traceback" not in answer.text


@given(value=anything | nearly)
@FUZZ
def test_any_json_is_answered_or_refused(client, value):
    answers_or_refuses(post(client, json.dumps(value)))


VALID = msgspec.json.encode(INPUTS)


@given(at=st.integers(0, len(VALID) - 1), cut=st.integers(0, 40), into=st.binary(max_size=20))
@FUZZ
def test_a_mutated_body_is_answered_or_refused(client, at, cut, into):
    answers_or_refuses(post(client, VALID[:at] + into + VALID[at + cut :]))


@given(at=st.integers(0, len(LINES.encode(ENCODING)) - 1), cut=st.integers(0, 40), into=st.binary(max_size=20))
@FUZZ
def test_a_mutated_file_is_answered_or_refused(client, at, cut, into):
    content = LINES.encode(ENCODING)
    mutated = content[:at] + into + content[at + cut :]
    answers_or_refuses(client.post("/v1/predictions/csv", content=mutated, headers=CSV))


@given(body=st.binary(max_size=200))
@FUZZ
def test_any_form_is_answered_or_refused(client, body):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answers_or_refuses(
        client.post("/v1/predictions/csv", content=b"--x\r\n" + body + b"\r\n--x--\r\n", headers=headers)
    )
