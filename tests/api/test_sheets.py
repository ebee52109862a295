"""POST /v1/predictions/csv with the plant's files."""

import csv
import io

import pytest
from support.service import HALF_WIDTH, REVISION, client_of, make_checkout, places, refusal

from api.openapi.examples import BATCH, INPUTS, MISTYPED, sheet
from batchyield.plant.batch import ENCODING

CSV = {"content-type": "text/csv"}

LINES = sheet([BATCH, MISTYPED])


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with client_of(make_checkout(tmp_path_factory.mktemp("model"))) as client:
        yield client


def rows(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(answer.text)))


@pytest.mark.parametrize("encoding", [ENCODING, "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("media_type", ["text/csv", "text/csv; charset=gb18030", "application/vnd.ms-excel"])
def test_csv(client, encoding, ends, media_type):
    """The plant's CSV gets predictions in order, in every encoding and media type."""
    content = LINES.replace("\n", ends).encode(encoding)
    answer = client.post("/v1/predictions/csv", content=content, headers={"content-type": media_type})
    low, high = 0.9 - HALF_WIDTH, 0.9 + HALF_WIDTH
    assert rows(answer) == [
        ["id", "yield", "lower", "upper"],
        ["sample_1", "0.9", str(low), str(high)],
        ["sample_2", "0.92", "0.88875", "0.95125"],
    ]


def test_headers(client):
    """The headers of a CSV response name the model."""
    answer = client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV)
    assert answer.headers["x-model-version"] == "unreleased"
    assert answer.headers["x-model-revision"] == REVISION
    assert answer.headers["x-model-md5"] == client.get("/v1/model").json()["md5"]
    assert answer.headers["x-cell-warnings"] == "1"


def test_csv_equals_json(client):
    """CSV and JSON requests get equal predictions."""
    of_json = client.post("/v1/predictions", json=INPUTS).json()
    of_csv = client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV | {"accept": "application/json"})
    assert of_csv.json() == of_json
    assert rows(client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV))[1:] == [
        [p["id"], str(p["yield"]), str(p["lower"]), str(p["upper"])] for p in of_json["predictions"]
    ]


def test_absent_column(client):
    """A reading without a column is missing, as one that a JSON request leaves out, and each row says so."""
    header, *cells = csv.reader(io.StringIO(LINES))
    at = header.index("B14")
    text = "".join(",".join([*row[:at], *row[at + 1 :]]) + "\n" for row in (header, *cells))
    answer = client.post("/v1/predictions/csv", content=text, headers=CSV | {"accept": "application/json"}).json()
    inputs = [{name: value for name, value in batch.items() if name != "B14"} for batch in (BATCH, MISTYPED)]
    same = client.post("/v1/predictions", json={"inputs": inputs}).json()
    assert [each["yield"] for each in answer["predictions"]] == [each["yield"] for each in same["predictions"]]
    for each in answer["predictions"]:
        assert ("B14", "absent_column") in [(one["field"], one["kind"]) for one in each["warnings"]]


def test_yield_column(client):
    """A yield column is accepted and ignored."""
    header, *lines = LINES.splitlines()
    with_yields = "\n".join([f"{header},收率", *(f"{line},0.9" for line in lines)])
    answer = client.post("/v1/predictions/csv", content=with_yields.encode(ENCODING), headers=CSV)
    assert rows(answer) == rows(client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV))


def test_form(client):
    """A file in a form gets the same response."""
    form = {"file": ("批次.csv", LINES.encode(ENCODING), "text/csv")}
    answer = client.post("/v1/predictions/csv", files=form)
    assert rows(answer) == rows(client.post("/v1/predictions/csv", content=LINES.encode(), headers=CSV))


def test_quoted_id(client):
    """An id that needs quotes is quoted in the response."""
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
def test_invalid_file(client, content, where):
    """An invalid file is refused with its line."""
    problem = refusal(client.post("/v1/predictions/csv", content=content, headers=CSV), 422, "invalid-input")
    assert places(problem)[0].startswith(where)


def test_row_limit(client):
    """A file of more than 10,000 rows is refused."""
    header, line, _ = LINES.splitlines(keepends=True)
    many = "".join([header, *(line.replace("sample_1", f"sample_{n}") for n in range(10_001))])
    problem = refusal(client.post("/v1/predictions/csv", content=many.encode(), headers=CSV), 422, "invalid-input")
    assert "10001 batches; send at most 10000" in problem["detail"]


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
def test_invalid_form(client, content, media_type, status, kind):
    """A form without exactly one file is refused."""
    refusal(client.post("/v1/predictions/csv", content=content, headers={"content-type": media_type}), status, kind)


def test_two_files(client):
    """A form with two files is refused."""
    form = [("a", ("a.csv", LINES.encode(), "text/csv")), ("b", ("b.csv", LINES.encode(), "text/csv"))]
    assert "2 of them files" in refusal(client.post("/v1/predictions/csv", files=form), 422, "invalid-input")["detail"]


def test_extra_field(client):
    """A form with another field is refused."""
    form = {"file": ("batches.csv", LINES.encode(), "text/csv")}
    answer = client.post("/v1/predictions/csv", files=form, data={"note": "of the night shift"})
    assert "2 fields" in refusal(answer, 422, "invalid-input")["detail"]
