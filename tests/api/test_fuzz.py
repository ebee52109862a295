"""No request body makes the service fail."""

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.service import client_of, make_checkout

from api.openapi.examples import BATCH, INPUTS, MISTYPED, sheet
from batchyield.plant.batch import ENCODING

JSON = {"content-type": "application/json"}

CSV = {"content-type": "text/csv"}

LINES = sheet([BATCH, MISTYPED])

VALID = msgspec.json.encode(INPUTS)

# One client for all examples: the service keeps nothing between requests.
FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(list(BATCH)), inner),
    max_leaves=20,
)

nearly = st.fixed_dictionaries(
    {"inputs": st.lists(st.dictionaries(st.sampled_from(list(BATCH)), anything), max_size=3)}
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with client_of(make_checkout(tmp_path_factory.mktemp("model"))) as client:
        yield client


def post(client, content, **headers):
    return client.post("/v1/predictions", content=content, headers=JSON | headers)


def answers_or_refuses(answer):
    """Assert that the response has predictions, or a refusal without a traceback."""
    if answer.status_code == 200:
        return
    assert answer.status_code in (400, 422), answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert "Traceback" not in answer.text


@given(value=anything | nearly)
@FUZZ
def test_any_json(client, value):
    """Arbitrary JSON gets predictions or a refusal."""
    answers_or_refuses(post(client, json.dumps(value)))


@given(at=st.integers(0, len(VALID) - 1), cut=st.integers(0, 40), into=st.binary(max_size=20))
@FUZZ
def test_mutated_json(client, at, cut, into):
    """A mutated JSON body gets predictions or a refusal."""
    answers_or_refuses(post(client, VALID[:at] + into + VALID[at + cut :]))


@given(at=st.integers(0, len(LINES.encode(ENCODING)) - 1), cut=st.integers(0, 40), into=st.binary(max_size=20))
@FUZZ
def test_mutated_csv(client, at, cut, into):
    """A mutated CSV file gets predictions or a refusal."""
    content = LINES.encode(ENCODING)
    mutated = content[:at] + into + content[at + cut :]
    answers_or_refuses(client.post("/v1/predictions/csv", content=mutated, headers=CSV))


@given(body=st.binary(max_size=200))
@FUZZ
def test_any_form(client, body):
    """An arbitrary form gets predictions or a refusal."""
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answers_or_refuses(
        client.post("/v1/predictions/csv", content=b"--x\r\n" + body + b"\r\n--x--\r\n", headers=headers)
    )
