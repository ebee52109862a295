"""The journal in SQLite and in a real PostgreSQL: predictions, outcomes, schema, retention and commands."""

import csv
import io
import json
import subprocess
import sys
import time

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from support.journal_database import PIN, append, entry, opened, rows_of
from support.service import (
    ROOT,
    START_SECONDS,
    Running,
    client_of,
    openapi_document,
    refusal,
    refused,
)

from api.openapi.examples import BATCH, INPUTS, MISTYPED, OUTCOMES, OUTCOMES_KEPT, sheet
from batchyield.cli.__main__ import main
from batchyield.errors import ConfigError, JournalError
from batchyield.journal import retention
from batchyield.journal.database import locate_journal, mask_url
from batchyield.journal.export import parse_time
from batchyield.journal.insert import JournalWriter, open_appender
from batchyield.journal.migrate import ensure_schema, newest_revision, read_revision, run_migrations, upgrade_schema
from batchyield.journal.outcomes import OutcomeSource, record_outcomes
from batchyield.journal.queries import PAGE_BATCHES, read_counts, read_predictions
from batchyield.journal.records import (
    MAX_PART_BATCHES,
    MAX_VERBATIM_BYTES_PER_BATCH,
)
from batchyield.journal.retention import prune
from batchyield.journal.tables import metadata
from batchyield.monitoring.arrival_rate import DAY_US
from batchyield.plant.batch import READING_NAMES, READINGS, Batch, CellWarning
from batchyield.serving.outcomes import MAX_OUTCOMES, Outcome
from batchyield.serving.prediction import Prediction

# Predictions


def test_predictions_are_journalled(checkout, url):
    """Each form of request is journalled as it was answered: JSON, explained, CSV to JSON, CSV to CSV."""
    with client_of(checkout, journal=url) as client:
        given = {
            "plain": client.post("/v1/predictions", json=INPUTS, headers={"x-request-id": "plain"}).json(),
            "explained": client.post(
                "/v1/predictions?explain=true", json=INPUTS, headers={"x-request-id": "explained"}
            ).json(),
            "sheet": client.post(
                "/v1/predictions/csv",
                content=sheet([BATCH, MISTYPED]),
                headers={"x-request-id": "sheet", "content-type": "text/csv", "accept": "application/json"},
            ).json(),
        }
        plain = client.post(
            "/v1/predictions/csv",
            content=sheet([BATCH, MISTYPED]),
            headers={"x-request-id": "text", "content-type": "text/csv"},
        ).text
    found = {}
    for row in rows_of(url):
        assert row.pin._asdict() == given["plain"]["model"]
        assert row.position == len(found.setdefault(row.request, []))
        assert abs(row.at / 1e6 - time.time()) < 60
        found[row.request].append(row)
    assert {name: rows[0].form for name, rows in found.items()} == {
        **{"plain": "json", "explained": "json"},
        **{"sheet": "csv", "text": "csv"},
    }
    for name, answer in given.items():
        for one in answer["predictions"]:
            one.pop("explanation", None)
        held = [json.loads(msgspec.json.encode(row.prediction)) for row in found[name]]
        assert held == answer["predictions"]
    lines = list(csv.DictReader(io.StringIO(plain)))
    assert [(row.prediction.id, str(row.prediction.yield_)) for row in found["text"]] == [
        (line["id"], line["yield"]) for line in lines
    ]
    for rows in found.values():
        assert [msgspec.to_builtins(row.batch) for row in rows] == [
            {name: float(cell) if isinstance(cell, int) else cell for name, cell in one.items()}
            for one in INPUTS["inputs"]
        ]


cells = {
    "number": st.floats(-1e6, 1e6),
    "clock": st.text(max_size=64),
    "range": st.text(max_size=64),
}
anything = st.fixed_dictionaries(
    {}, optional={"id": st.text(max_size=128), **{one.name: cells[one.kind] for one in READINGS}}
).map(lambda fields: Batch(**fields))
warned = st.lists(st.builds(CellWarning, st.sampled_from(READING_NAMES), st.just("dash"), st.text()), max_size=2).map(
    tuple
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(anything, min_size=1, max_size=5), yield_=st.floats(0, 1.2), warnings=warned)
def test_round_trip(store, batches, yield_, warnings):
    """Any batch and prediction is read as it was written."""
    predictions = [Prediction(batch.id, yield_, yield_ - 0.03, yield_ + 0.03, warnings) for batch in batches]
    with store.write_transaction() as connection:
        connection.execute(metadata.tables["answer"].delete())
        connection.execute(metadata.tables["asked"].delete())
    append(store, entry(*batches, yield_=yield_, warnings=warnings))
    rows = list(read_predictions(store))
    assert [row.batch for row in rows] == batches
    assert [row.prediction for row in rows] == predictions


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_group_sizes(store, count):
    """Groups below, at and above the limits of a statement are written completely."""
    requests = [[Batch(id=f"{n} {row}") for row in range(1 + n % 3)] for n in range(count)]
    assert append(store, *(entry(*one, at=n) for n, one in enumerate(requests))) == sum(map(len, requests))
    assert [row.batch for row in read_predictions(store)] == [batch for one in requests for batch in one]


def test_time_limits_and_pages(store):
    """Predictions are read in order over several pages, between times, and the newest only."""
    append(store, *(entry(Batch(id=str(n)), at=n // 7) for n in range(PAGE_BATCHES + 100)))
    ids = [int(row.batch.id) for row in read_predictions(store)]
    assert ids == list(range(PAGE_BATCHES + 100))
    assert [int(row.batch.id) for row in read_predictions(store, since=10, until=12)] == list(range(70, 84))
    assert [int(row.batch.id) for row in read_predictions(store, limit=10)] == ids[-10:]
    assert [int(row.batch.id) for row in read_predictions(store, until=12, limit=10)] == list(range(74, 84))
    assert len(list(read_predictions(store, limit=10**6))) == PAGE_BATCHES + 100


def test_invalid_entry(store):
    """An entry that cannot be written does not fail the others of its group."""
    # No request can make such an entry: ids and callers are checked long before.
    invalid = entry(Batch(id="bad"), pin=PIN)._replace(caller=object())
    failures = []
    writer = JournalWriter(store, lambda *_: None, lambda: failures.append(1))
    outcomes = writer.write([entry(Batch(id="a")), invalid, entry(Batch(id="b"))])
    writer.close()
    assert [outcome is None for outcome in outcomes] == [True, False, True]
    assert [row.batch.id for row in read_predictions(store)] == ["a", "b"]
    assert failures


def test_large_request(checkout, tmp_path):
    """A request of several parts is journalled completely and in order."""
    many = 2 * MAX_PART_BATCHES + 7
    with client_of(checkout, journal=str(tmp_path / "journal.sqlite")) as client:
        inputs = [{"id": f"{n}", "B14": 300 + n / 100} for n in range(many)]
        answer = client.post("/v1/predictions", json={"inputs": inputs}).json()
    rows = rows_of(tmp_path / "journal.sqlite")
    assert [row.position for row in rows] == list(range(many))
    assert [row.prediction.yield_ for row in rows] == [one["yield"] for one in answer["predictions"]]


# Outcomes


def test_outcomes(checkout, url):
    """Outcomes are recorded once, repeated without effect, corrected, and matched with predictions."""
    with client_of(checkout, journal=url) as client:

        def report(*pairs):
            body = {"outcomes": [{"id": name, "yield": value} for name, value in pairs]}
            answer = client.post("/v1/outcomes", json=body)
            assert answer.status_code == 200, answer.text
            body = answer.json()
            return [(one["result"], one["matched"]) for one in body["outcomes"]], body["matched"], body["unmatched"]

        md5 = client.get("/v1/model").json()["md5"]
        for _ in range(2):
            client.post("/v1/predictions", json=INPUTS)
        assert report(("sample_1", 0.91), ("later", 0.9)) == ([("recorded", 2), ("recorded", 0)], 1, 1)
        assert report(("sample_1", 0.91), ("later", 0.9)) == ([("unchanged", 2), ("unchanged", 0)], 1, 1)
        assert report(("sample_1", 0.92)) == ([("corrected", 2)], 1, 0)
        assert report(("new", 0.8), ("new", 0.8), ("new", 0.7)) == (
            *([("recorded", 0), ("unchanged", 0), ("corrected", 0)],),
            *(0, 1),
        )
        client.post("/v1/predictions", json={"inputs": [{"id": "later"}]})
        assert report(("later", 0.9)) == ([("unchanged", 1)], 1, 0)
        answer = client.post("/v1/outcomes", json=OUTCOMES).json()
        assert answer["outcomes"][0]["models"] == [md5]
        metrics = client.get("/metrics").text
        assert 'batchyield_outcomes_total{matched="true",result="recorded"} 1.0' in metrics
        assert 'batchyield_outcomes_total{matched="false",result="corrected"} 1.0' in metrics
    with opened(url) as store:
        found = read_counts(store)
        assert (found.outcomes, found.matched, found.corrections) == (4, 2, 3)
        assert {row.batch.id: row.measured for row in read_predictions(store)} == {
            "sample_1": OUTCOMES["outcomes"][0]["yield"],
            "sample_2": None,
            "later": 0.9,
        }
        with store.read_transaction() as connection:
            earlier = connection.execute(text('SELECT batch, "yield" FROM correction ORDER BY id')).all()
        assert [tuple(row) for row in earlier] == [("sample_1", 0.91), ("new", 0.8), ("sample_1", 0.92)]


@pytest.mark.parametrize("count", [30, 90])
def test_outcomes_of_large_answers(store, count):
    """Outcomes match each batch with an id, for answers below and above the limit of a statement."""
    names = [(f"b{n}", None, f"n\0{n}")[n % 3] for n in range(count)]
    append(store, entry(*(Batch(id=name) for name in names)), entry(Batch(id="b0")))
    asked = [name for name in names if name]
    found = record_outcomes(store, [Outcome(name, 0.9) for name in asked], OutcomeSource(1, "request", ""))
    assert [one.matched for one in found] == [2, *[1] * (len(asked) - 1)]
    with store.read_transaction() as connection:
        places = (
            connection.execute(text("SELECT position FROM asked WHERE answer = 1 ORDER BY position")).scalars().all()
        )
    assert places == [n for n, name in enumerate(names) if name]


def test_batch_without_id(store):
    """A batch without an id has no outcome, even if another is called None."""
    append(store, entry(Batch(id="None"), Batch(), Batch(id="")))
    record_outcomes(store, [Outcome("None", 0.9)], OutcomeSource(1, "request", ""))
    assert [row.measured for row in read_predictions(store)] == [0.9, None, None]


def test_many_outcomes(store):
    """The largest number of outcomes of a request is recorded and repeated."""
    append(
        store,
        *(
            entry(*(Batch(id=str(n)) for n in range(first, first + MAX_PART_BATCHES)))
            for first in (0, MAX_PART_BATCHES, 2 * MAX_PART_BATCHES)
        ),
    )
    outcomes = [Outcome(str(n), 0.9) for n in range(MAX_OUTCOMES)]
    kept = record_outcomes(store, outcomes, OutcomeSource(1, "request", ""))
    assert [one.matched for one in kept] == [1] * 3000 + [0] * 7000
    assert {one.result for one in record_outcomes(store, outcomes, OutcomeSource(2, "request", ""))} == {"unchanged"}


@pytest.mark.parametrize(
    ("body", "status", "kind", "where"),
    [
        ({"outcomes": []}, 422, "invalid-input", "$.outcomes"),
        ({"outcomes": [{"id": "a"}]}, 422, "invalid-input", "$.outcomes[0]"),
        ({"outcomes": [{"id": "a", "yield": 1}, {"id": "b", "yield": 9}]}, 422, "invalid-input", "$.outcomes[1].yield"),
        ({"outcomes": [{"id": "a", "yield": None}]}, 422, "invalid-input", "$.outcomes[0].yield"),
        ({"outcomes": [{"id": "", "yield": 0.9}]}, 422, "invalid-input", "$.outcomes[0].id"),
        ({"outcomes": [{"id": "a", "yield": 0.9, "x": 1}]}, 422, "invalid-input", "$.outcomes[0]"),
    ],
)  # fmt: skip
def test_invalid_outcomes(checkout, body, status, kind, where):
    """Invalid outcomes are refused with their place."""
    with client_of(checkout) as client:
        problem = refusal(client.post("/v1/outcomes", json=body), status, kind)
        assert [one["where"] for one in problem["violations"]] == [where]
        refusal(
            client.post("/v1/outcomes", content="{", headers={"content-type": "application/json"}), 400, "malformed"
        )


def test_journal_off(checkout, tmp_path):
    """Without a journal, predictions work and outcomes are refused."""
    with client_of(checkout, journal="off") as client:
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200
        refusal(client.post("/v1/outcomes", json=OUTCOMES), 409, "journal-off")


def test_documented_example():
    """The OpenAPI example of outcomes is the documented one."""
    content = openapi_document()["paths"]["/v1/outcomes"]["post"]["responses"]["200"]["content"]["application/json"]
    assert content["examples"]["kept"]["value"] == OUTCOMES_KEPT
    assert [one["id"] for one in OUTCOMES_KEPT["outcomes"]] == [one["id"] for one in OUTCOMES["outcomes"]]


# Schema, location and retention


def test_schema_and_migrations(store):
    """A new journal and a migrated one have the tables of the schema."""

    def check_schema():
        with store.read_transaction() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        return read_revision(store)

    new = check_schema()
    with store.write_transaction() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DELETE FROM alembic_version"))
        run_migrations(connection)
    assert check_schema() == new == newest_revision()


@pytest.mark.parametrize("old", ["0001", "0003"])
def test_unreleased_revision(store, url, checkout, capsys, old):
    """A journal from before the first release is refused by commands and service, and not changed."""
    append(store, entry(Batch(id="a")))
    with store.write_transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :old"), {"old": old})
        connection.execute(text("CREATE TABLE prediction (id INTEGER, inputs TEXT)"))
        connection.execute(text("INSERT INTO prediction VALUES (1, 'kept')"))
    problem = f"the journal {store.name} is at revision {old}, which this version of batchyield does not know"
    for action in ("upgrade", "status", "export"):
        assert main(["journal", action, "--journal", url]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert problem in output.err
        assert "set BATCHYIELD_JOURNAL to another journal" in output.err
    code, errors = refused(checkout, BATCHYIELD_JOURNAL=url)
    assert (code, problem in errors, "Traceback" in errors) == (2, True, False)
    assert read_revision(store) == old
    with store.read_transaction() as connection:
        assert connection.execute(text("SELECT id, inputs FROM prediction")).all() == [(1, "kept")]
    assert [row.batch.id for row in read_predictions(store)] == ["a"]


def test_verbatim_body(checkout, tmp_path):
    """A request body is stored as it was sent, unless it is mostly blanks."""
    journal = str(tmp_path / "journal.sqlite")
    sent = '{ "inputs": [ {"id": "\\u0041", "A1": 1e2, "A1": 300, "B14": null} ]\n}'
    blank = f'{{"inputs": [{" " * MAX_VERBATIM_BYTES_PER_BATCH}{{"id": "B"}}]}}'
    with client_of(checkout, journal=journal) as client:
        for body in (sent, blank):
            answer = client.post("/v1/predictions", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 200
    with opened(journal) as store, store.read_transaction() as connection:
        kept = connection.execute(text("SELECT inputs, typeof(inputs), predictions FROM answer ORDER BY id")).all()
    assert [row[:2] for row in kept] == [(sent, "text"), ('{"inputs":[{"id":"B"}]}', "text")]
    assert json.loads(kept[1].predictions) == answer.json()["predictions"]
    assert [row.batch for row in rows_of(journal)] == [Batch(id="A", A1=300.0), Batch(id="B")]


def test_alembic_is_not_imported(tmp_path):
    """A service with an up-to-date journal does not import Alembic."""
    script = f"""
import sys
from api.inference.group_commit import prepare_journal
from api.settings import Settings
prepare_journal(Settings(journal={str(tmp_path / "journal.sqlite")!r}))
print("alembic" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_newer_revision(store, url, checkout):
    """A journal of a newer version is refused."""
    with store.write_transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(JournalError, match=r"at revision 9999, which this version .*\n  use the version"):
        ensure_schema(store)
    code, errors = refused(checkout, BATCHYIELD_JOURNAL=url)
    assert (code, "9999" in errors, "Traceback" in errors) == (2, True, False)


def test_upgrade_postgresql(postgres_server, checkout, capsys):
    """The service refuses a PostgreSQL database without tables; `journal upgrade` creates them."""
    postgres_server.psql("create database bare;")
    url = postgres_server.get_uri(database="bare")
    code, errors = refused(checkout, BATCHYIELD_JOURNAL=url)
    assert code == 2
    assert "has no tables yet" in errors
    assert "batchyield journal upgrade" in errors
    assert main(["journal", "upgrade", "--journal", url]) == 0
    assert main(["journal", "upgrade", "--journal", url]) == 0
    assert f"is at {newest_revision()} now\n" in (output := capsys.readouterr().out)
    assert f"was at {newest_revision()} already\n" in output
    with opened(url) as store:
        ensure_schema(store)


def test_unavailable_database_at_start(checkout, tmp_path):
    """An unavailable database is refused at the start, unless not required; no message shows the password."""
    secret = tmp_path / "url"
    secret.write_text("postgresql://someone:sesame@127.0.0.1:1/journal?sslpassword=sesame\n")
    code, errors = refused(checkout, BATCHYIELD_JOURNAL_URL_FILE=str(secret))
    assert code == 2
    assert "postgresql://someone:***@127.0.0.1:1/journal" in errors
    assert "sesame" not in errors
    environment = {"BATCHYIELD_JOURNAL_URL_FILE": str(secret), "BATCHYIELD_JOURNAL_REQUIRED": "false"}
    with Running(checkout, **environment) as running:
        assert running.post("/v1/predictions", json=INPUTS).status_code == 200
    assert "sesame" not in running.errors


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("mysql://a/b", "cannot be kept in mysql"),
        ("sqlite://", "cannot be kept in sqlite, or the URL names no file"),
        ("postgresql://a:b@c:port/d", "is malformed"),
    ],
)
def test_invalid_location(given, problem, tmp_path):
    """Databases of other kinds and malformed URLs are refused, without showing the password."""
    with pytest.raises(ConfigError, match=problem) as refused:
        locate_journal(given, "", tmp_path)
    assert "b@c" not in str(refused.value)


def test_location(tmp_path):
    """Locations are resolved, and passwords masked."""
    assert locate_journal("off", "", tmp_path) is None
    assert locate_journal("", "", tmp_path).database == str(tmp_path / ".journal/journal.sqlite")
    assert locate_journal("sqlite:////a/b.sqlite", "", tmp_path).database == "/a/b.sqlite"
    assert mask_url(locate_journal("postgres://a:b@c/d?password=e", "", tmp_path)) == "postgresql://a:***@c/d"
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "none"):
        with pytest.raises(ConfigError):
            locate_journal("", str(tmp_path / name), tmp_path)


def test_prune(store):
    """Older predictions, outcomes and corrections are deleted; newer ones stay."""
    append(store, *(entry(Batch(id=str(n)), at=n) for n in range(1200)))
    for at, value in ((10, 0.9), (2000, 0.8)):
        record_outcomes(store, [Outcome("a", value), Outcome(f"at {at}", 0.9)], OutcomeSource(at, "", ""))
    assert prune(store, 1100) == 1100
    assert [row.at for row in read_predictions(store)] == list(range(1100, 1200))
    found = read_counts(store)
    assert (found.outcomes, found.corrections) == (2, 0)
    assert prune(store, 1100) == 0
    matched = [
        one.matched
        for one in record_outcomes(store, [Outcome("1099", 1), Outcome("1100", 1)], OutcomeSource(3000, "", ""))
    ]
    assert matched == [0, 1]
    assert prune(store, 10_000) == 100
    with store.read_transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM asked")).scalar() == 0


def test_prune_large_answer(store):
    """An answer larger than a step is deleted completely."""
    append(store, *(entry(*(Batch(id=f"{at} {n}") for n in range(MAX_PART_BATCHES)), at=at) for at in (1, 2)))
    assert prune(store, 2) == MAX_PART_BATCHES
    assert {row.at for row in read_predictions(store)} == {2}
    assert len(list(read_predictions(store, limit=7))) == 7


def test_other_schemas(store, url, capsys):
    """Rows of an earlier or later schema are read, exported, joined with outcomes and pruned; nothing is lost."""
    now = entry(Batch(id="now", A1=300.0), at=3)
    past = [
        {"id": "past", "A0": 7, "A1": 300},
        {"id": "text", "A1": "a lot", "A9": None, "sequence": 7.5},
        {"id": "now"},
    ]
    part = entry(*(Batch(id=one["id"]) for one in past), at=2).part
    part = part._replace(inputs=msgspec.json.encode({"inputs": past}))
    append(store, now, now._replace(at=2, part=part))
    record_outcomes(store, [Outcome("past", 0.9)], OutcomeSource(4, "", ""))
    rows = list(read_predictions(store))
    assert [row.batch for row in rows] == [
        *(Batch(id="past", A1=300.0), Batch(id="text", sequence=7.5), Batch(id="now")),
        Batch(id="now", A1=300.0),
    ]
    assert [row.other for row in rows] == [{"A0": 7}, {"A1": "a lot"}, {}, {}]
    assert [row.measured for row in rows] == [0.9, None, None, None]
    assert main(["journal", "export", "--journal", url]) == 0
    lines = [json.loads(line)["inputs"] for line in capsys.readouterr().out.splitlines()]
    assert lines == [past[0], {"id": "text", "A1": "a lot", "sequence": 7.5}, past[2], {"id": "now", "A1": 300}]
    assert main(["journal", "export", "--journal", url, "--format", "csv"]) == 0
    exported = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["sequence"] for line in exported] == ["", "7.5", "", ""]
    assert [(line["A1"], line["other"]) for line in exported] == [
        *(("300.0", '{"A0":7}'), ("", '{"A1":"a lot"}')),
        *(("", ""), ("300.0", "")),
    ]
    assert prune(store, 10) == 4


def test_retention_of_the_service(checkout, tmp_path):
    """A service with two workers deletes what is older than its retention."""
    journal = tmp_path / "journal.sqlite"
    with opened(journal) as store:
        upgrade_schema(store)
        now = round(time.time() * 1e6)
        append(store, *(entry(Batch(id=f"{age}"), at=now - age * DAY_US) for age in (9, 8, 6, 0)))
        environment = {"BATCHYIELD_JOURNAL": str(journal), "BATCHYIELD_JOURNAL_RETENTION_DAYS": "7"}
        with Running(checkout, "--workers", "2", **environment):
            deadline = time.monotonic() + START_SECONDS
            while (left := [row.batch.id for row in read_predictions(store)]) != ["6", "0"]:
                assert time.monotonic() < deadline, left
                time.sleep(0.05)


def test_checkpoint(tmp_path, monkeypatch):
    """A grown write-ahead log is moved into the file, and truncated above its limit."""
    monkeypatch.setattr(retention, "WAL_BYTES", 2**16)
    journal = tmp_path / "journal.sqlite"
    log = tmp_path / "journal.sqlite-wal"
    with opened(journal) as store:
        upgrade_schema(store)
        writer = open_appender(store)  # keeps the file open; otherwise SQLite would empty the log itself
        writer.append([entry(*(Batch(id=str(n)) for n in range(MAX_PART_BATCHES))) for _ in range(2)])
        before = journal.stat().st_size
        retention.checkpoint_wal(store)
        assert journal.stat().st_size > before
        assert log.stat().st_size > 2**16
        monkeypatch.setattr(retention, "MAX_WAL_BYTES", 2**16)
        retention.checkpoint_wal(store)
        assert log.stat().st_size == 0
        writer.append([entry(Batch(id="later"))])
        writer.close()
        assert len(list(read_predictions(store))) == 2001


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-11-01", 1_793_491_200_000_000),
        ("2026-11-01T08:00:00+08:00", 1_793_491_200_000_000),
        ("2026-11-01T00:00:00.000001", 1_793_491_200_000_001),
    ],
)
def test_parse_time(given, expected):
    """Dates and ISO 8601 times are parsed."""
    assert parse_time(given) == expected


def test_parse_duration():
    """Durations count back from now; other text is refused."""
    assert abs(parse_time("7d") / 1e6 - (time.time() - 7 * 86400)) < 5
    assert parse_time("90m") > parse_time("2h")
    for wrong in ("yesterday", "", "7 d", "9999999999d"):
        with pytest.raises(ConfigError, match="invalid time"):
            parse_time(wrong)


# Commands


def test_commands(checkout, url, capsys):
    """`journal status`, `export` and `prune` report, write and delete what the journal holds."""
    with client_of(checkout, journal=url) as client:
        answer = client.post("/v1/predictions", json=INPUTS).json()
        client.post("/v1/outcomes", json=OUTCOMES)
    assert main(["journal", "status", "--journal", url]) == 0
    output = capsys.readouterr().out
    assert "2 predictions" in output
    assert "2 outcomes, 1 of predicted batches, 0 corrections" in output
    assert main(["journal", "status", "--journal", url, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["holds"]["models"] == [{**answer["model"], "predictions": 2}]
    assert main(["journal", "export", "--journal", url]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["prediction"] for line in lines] == answer["predictions"]
    assert [line["measured"] for line in lines] == [OUTCOMES["outcomes"][0]["yield"], None]
    assert lines[0]["inputs"] == {name: cell for name, cell in BATCH.items() if cell is not None}
    assert main(["journal", "export", "--journal", url, "--format", "csv", "--since", "1d"]) == 0
    exported = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["warnings"] for line in exported] == ["", "B9 full_width"]
    assert exported[1]["B9"] == MISTYPED["B9"]
    assert main(["journal", "export", "--journal", url, "--until", "1d"]) == 0
    assert capsys.readouterr().out == ""
    prune = ["journal", "prune", "--journal", url, "--before", "2100-01-01"]
    assert main([*prune, "--dry-run"]) == 0
    would = capsys.readouterr().out
    assert would.startswith("would remove 2 predictions, ")
    assert main(prune) == 0
    assert capsys.readouterr().out == would.replace("would remove", "removed")


def test_commands_without_journal(tmp_path, capsys, monkeypatch):
    """Commands refuse a missing journal and do not create one."""
    monkeypatch.setenv("BATCHYIELD_JOURNAL", str(tmp_path / "none.sqlite"))
    assert main(["journal", "status"]) == 2
    assert "there is no journal at" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("BATCHYIELD_JOURNAL", "off")
    assert main(["journal", "export"]) == 2
