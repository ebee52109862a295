"""Compressed bodies, both ways."""

import gzip
import json
import zlib

import httpx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from support.service import client_of, make_checkout, refusal

from api.http.compression import MAX_STREAMS, MIN_COMPRESS_BYTES, accepted_coding, compress, decompress, request_coding
from api.openapi.examples import BATCH, INPUTS, sheet
from api.problems import RequestError
from api.settings import Settings

BODY = json.dumps(INPUTS).encode()
PACK = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
LIMIT = 2**20
SETTINGS = Settings(max_body_bytes=LIMIT)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = make_checkout(tmp_path_factory.mktemp("model"))
    with client_of(root, max_body_bytes=LIMIT) as client:
        client.headers["accept-encoding"] = "identity"
        yield client


def post(client, content, coding, path="/v1/predictions", **headers):
    kind = "text/csv" if path.endswith("csv") else "application/json"
    return client.post(path, content=content, headers={"content-type": kind, "content-encoding": coding} | headers)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "x-gzip", "GZIP", "identity"])
def test_compressed_body(client, coding):
    """A compressed body gets the same response as the plain body."""
    pack = PACK.get(coding.lower().removeprefix("x-"), bytes)
    plain = client.post("/v1/predictions", json=INPUTS)
    assert post(client, pack(BODY), coding).json() == plain.json()
    lines = sheet(INPUTS["inputs"]).encode("GB18030")
    answer = post(client, pack(lines), coding, "/v1/predictions/csv")
    assert answer.text == client.post("/v1/predictions/csv", content=lines, headers={"content-type": "text/csv"}).text


@pytest.mark.parametrize("coding", PACK)
def test_concatenated_streams(client, coding):
    """Concatenated streams are one body, up to a limit."""
    pack = PACK[coding]
    assert post(client, pack(BODY[:100]) + pack(BODY[100:]), coding).status_code == 200
    refusal(post(client, pack(b"") * (MAX_STREAMS + 1) + pack(BODY), coding), 400, "malformed")


def test_unknown_size(client):
    """A zstd stream without its size is read."""
    stream = zstandard.ZstdCompressor().compressobj()
    assert post(client, stream.compress(BODY) + stream.flush(), "zstd").status_code == 200


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, zstd", "", "x" * 1000])
def test_unsupported_coding(client, coding):
    """An unsupported coding gets 415 with the supported ones."""
    answer = post(client, BODY, coding)
    if not coding:
        assert answer.status_code == 200
        return
    refusal(answer, 415, "unsupported-media-type")
    assert answer.headers["accept-encoding"] == "zstd, gzip"


@pytest.mark.parametrize("coding", PACK)
def test_incomplete_stream(client, coding):
    """A truncated or damaged stream is refused."""
    whole = PACK[coding](BODY)
    for spoilt in (b"", BODY, whole[:-1], whole[:20], whole + b"x", whole[:9] + b"\xff\xff" + whole[11:]):
        problem = refusal(post(client, spoilt, coding), 400, "malformed")
        assert f"the body is not complete {coding}" in problem["detail"]


def repeated_block(times, window=b"\x38"):
    """A zstd frame of `times` blocks of 4 bytes, each of which becomes 128 KB; `window` is 2**(10 + window / 8)."""
    block = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b" "
    last = (1 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b" "
    return b"\x28\xb5\x2f\xfd\x00" + window + block * times + last


@pytest.mark.parametrize(
    ("coding", "bomb"),
    [("gzip", gzip.compress(bytes(LIMIT + 1))), ("zstd", PACK["zstd"](bytes(LIMIT + 1))), ("zstd", repeated_block(99))],
    ids=["gzip", "zstd", "zstd of repeated blocks"],
)
def test_bomb(client, coding, bomb):
    """A decompression bomb is refused."""
    assert len(bomb) < LIMIT / 100
    refusal(post(client, bomb, coding), 413, "too-large")


def test_limit():
    """A body of exactly the limit is decompressed."""
    for coding, pack in PACK.items():
        assert len(decompress(pack(bytes(LIMIT)), coding, SETTINGS)) == LIMIT


def test_zstd_window():
    """A zstd frame with too large a window is refused."""
    assert decompress(repeated_block(1, window=b"\x68"), "zstd", SETTINGS)
    with pytest.raises(RequestError, match="not complete zstd"):
        decompress(repeated_block(1, window=b"\x70"), "zstd", SETTINGS)


@given(st.sampled_from(["gzip", "zstd"]), st.binary(max_size=3000), st.integers(0, 60), st.binary(max_size=9))
@settings(max_examples=150, deadline=None)
def test_any_stream(coding, body, at, into):
    """Arbitrary damage gives the body or a refusal."""
    packed = compress(body, coding)
    assert decompress(packed, coding, SETTINGS) == body
    with_slip = packed[:at] + into + packed[at + len(into) :]
    assert status_of(decompress, with_slip, coding, SETTINGS) in (200, 400, 413)


def status_of(call, *arguments):
    try:
        call(*arguments)
    except RequestError as error:
        return error.kind.status
    return 200


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"), ("gzip", "gzip"), ("x-gzip", "gzip"), ("zstd;q=0.1, gzip", "gzip"),
        ("zstd;q=0, gzip;q=0", ""), ("*", "zstd"), ("*;q=0", ""), ("br", ""), ("", ""), ("identity", ""),
        ("zstd;q=0, *", "gzip"), ("gzip;q=x", ""), (" GZIP ; q=0.5 ", "gzip"), (";;,,", ""),
    ],
)  # fmt: skip
def test_accept_encoding(accept, coding):
    """Accept-Encoding selects the coding of the response."""
    assert accepted_coding(accept) == coding


@given(st.text())
def test_any_accept_encoding(accept):
    """Any Accept-Encoding gives a supported coding or none."""
    assert accepted_coding(accept) in ("", "gzip", "zstd")


@given(st.binary(max_size=50))
def test_any_content_encoding(sent):
    """Any Content-Encoding is supported or refused."""
    assert status_of(request_coding, [(b"content-encoding", sent)]) in (200, 415)


LARGE = {"inputs": [BATCH] * 200}


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_large_response(client, coding):
    """A large response is compressed if the client accepts it."""
    plain = client.post("/v1/predictions", json=LARGE)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "accept-encoding"
    with client.stream("POST", "/v1/predictions", json=LARGE, headers={"accept-encoding": coding}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == coding
    assert answer.headers["content-length"] == str(len(raw))
    assert len(raw) < len(plain.content) / 5
    whole = zlib.decompress(raw, 31) if coding == "gzip" else zstandard.decompress(raw)
    assert whole == plain.content


def test_small_response(client):
    """A small response is not compressed."""
    answer = client.post("/v1/predictions", json=INPUTS, headers={"accept-encoding": "gzip, zstd"})
    assert len(answer.content) < MIN_COMPRESS_BYTES
    assert not {"content-encoding", "vary"} & set(answer.headers)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/schema",
        "/schema/openapi.json",
        "/console/app.js",
        "/console/words.js",
        "/v1/model",
    ],
)
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_pages(client, path, coding):
    """Large pages and documents are compressed, with an ETag of their own."""
    plain, packed = client.get(path), client.get(path, headers={"accept-encoding": coding})
    assert packed.content == plain.content
    if len(plain.content) < MIN_COMPRESS_BYTES:
        return
    assert packed.headers["content-encoding"] == coding
    assert "accept-encoding" in packed.headers["vary"]
    if "etag" in plain.headers:
        assert packed.headers["etag"] != plain.headers["etag"]
        headers = {"accept-encoding": coding, "if-none-match": packed.headers["etag"]}
        assert client.get(path, headers=headers).status_code == 304


def test_httpx(client):
    """httpx decodes a zstd response."""
    answer = client.post("/v1/predictions", json=LARGE, headers={"accept-encoding": "zstd"})
    assert isinstance(answer, httpx.Response)
    assert len(answer.json()["predictions"]) == 200
