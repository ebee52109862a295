"""Backup and restore of the journal, from either database into either, while it is written."""

import json
import sqlite3
import time

import pytest
from support.journal_database import append, database, entry, opened, rows_of
from support.service import START_SECONDS, client_of

from api.openapi.examples import INPUTS
from batchyield.cli.__main__ import main
from batchyield.errors import ConflictError, JournalError, WriteError
from batchyield.journal.backup import back_up, restore
from batchyield.journal.migrate import ensure_schema, newest_revision
from batchyield.journal.outcomes import OutcomeSource, record_outcomes
from batchyield.journal.queries import read_counts
from batchyield.plant.batch import Batch
from batchyield.serving.outcomes import Outcome


def contents(url):
    """All predictions of a journal without the ids of their rows, and its counts."""
    rows = [{name: getattr(row, name) for name in row.__struct_fields__ if name != "answer"} for row in rows_of(url)]
    with opened(url) as store:
        return rows, read_counts(store)


def record(store, *outcomes, at=1):
    record_outcomes(store, [Outcome(id_, yield_) for id_, yield_ in outcomes], OutcomeSource(at, "r", ""))


@pytest.fixture
def backup(store, tmp_path):
    """A backup of a journal of a few requests, with an outcome and a correction; a NUL is in an id."""
    append(store, entry(Batch(id="a", A1=1.0), Batch(), at=5, caller="line-3"), entry(Batch(id="b\0"), at=5))
    append(store, *(entry(Batch(id=str(n)), at=10 + n) for n in range(20)))
    record(store, ("a", 0.9), ("unknown", 0.5))
    record(store, ("a", 0.91), at=2)
    file = tmp_path / "backup.sqlite"
    assert back_up(store, file) == read_counts(store)
    return file


def test_round_trip(url, store, backup, tmp_path):
    """A backup is one private file, itself a journal; restored into a new journal, everything is there, once."""
    assert contents(backup) == contents(url)
    assert backup.stat().st_mode & 0o77 == 0
    for _ in range(2):
        with opened(tmp_path / "new.sqlite") as new:
            added = restore(new, backup)
        assert contents(tmp_path / "new.sqlite") == contents(url)
    assert (added.predictions, added.outcomes, added.corrections) == (0, 0, 0)
    assert not [*tmp_path.glob(".*.part")]


def test_move_to_other_database(backup, postgres_server):
    """A backup is restored into PostgreSQL, whose ids go on behind those restored."""
    with database(postgres_server) as url, opened(url) as store:
        assert restore(store, backup).predictions == 23
        append(store, entry(Batch(id="later"), at=99))
        record(store, ("a", 0.92), at=3)
        assert read_counts(store).predictions == 24
        assert read_counts(store).corrections == 2


def test_restore_beside_newer_rows(store, backup):
    """What a journal got since the backup stays: its predictions, and the later of two outcomes."""
    append(store, entry(Batch(id="new"), at=50))
    record(store, ("a", 0.93), ("late", 0.7), at=3)
    before = read_counts(store)
    added = restore(store, backup)
    assert (added.predictions, added.outcomes, added.corrections) == (0, 0, 0)
    assert read_counts(store) == before


def test_restore_after_loss(store, backup, tmp_path):
    """An outcome reported again after the loss stays, and the earlier one becomes its correction."""
    with opened(tmp_path / "new.sqlite") as new:
        ensure_schema(new)
        record(new, ("a", 0.95), at=9)
        restore(new, backup)
        counts = read_counts(new)
    assert (counts.outcomes, counts.corrections) == (2, 2)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda file: file.unlink(), "there is no journal"),
        (lambda file: file.write_bytes(b"no database" * 1000), "not a database"),
        (lambda file: file.write_bytes(file.read_bytes()[:8192] + b"x" * 8192), "damaged|malformed"),
        (lambda file: sqlite3.connect(file).executescript("drop table alembic_version"), "holds no journal"),
        (lambda file: sqlite3.connect(file).executescript("update alembic_version set version_num = '0'"), "is at rev"),
    ],
    ids=["missing", "other", "damaged", "empty", "older"],
)
def test_unusable_backup(spoil, problem, tmp_path):
    """A file that is no intact backup is refused before anything changes."""
    with opened(tmp_path / "journal.sqlite") as store:
        ensure_schema(store)
        append(store, entry(Batch(id="a")))
        file = tmp_path / "backup.sqlite"
        back_up(store, file)
        spoil(file)
        before = read_counts(store)
        with pytest.raises(JournalError, match=problem):
            restore(store, file)
        assert read_counts(store) == before


def test_existing_file(store, tmp_path):
    """A backup never replaces a file, and leaves nothing behind where it cannot be written."""
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ConflictError, match="exists already"):
        back_up(store, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"
    with pytest.raises(WriteError, match="No such file"):
        back_up(store, tmp_path / "missing/folder")


def test_commands(checkout, url, tmp_path, capsys):
    """While the service predicts, `journal backup` and `journal restore` lose nothing and stop nothing."""
    file, new = tmp_path / "backup.sqlite", tmp_path / "new.sqlite"
    with client_of(checkout, journal=url) as client:
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200
        assert main(["journal", "backup", str(file), "--journal", url]) == 0
        assert "2 predictions" in capsys.readouterr().out
        assert main(["journal", "restore", str(file), "--journal", url]) == 0
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200
    assert len(rows_of(url)) == 4
    assert main(["journal", "restore", str(file), "--journal", str(new), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1]) == {"predictions": 2, "outcomes": 0, "corrections": 0}
    assert main(["journal", "status", "--journal", str(new)]) == 0
    assert newest_revision() in capsys.readouterr().out


def test_damaged_journal(checkout, tmp_path, capsys):
    """A damaged file is moved away while the service runs, which starts a new one; a backup restores the old rows."""
    journal, backup = tmp_path / "journal.sqlite", tmp_path / "backup.sqlite"
    with client_of(checkout, journal=str(journal)) as client:
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200
        assert main(["journal", "backup", str(backup), "--journal", str(journal)]) == 0
        for file in tmp_path.glob("journal.sqlite*"):
            file.rename(tmp_path / f"away-{file.name}")
        deadline = time.monotonic() + START_SECONDS
        while client.post("/v1/predictions", json=INPUTS).status_code == 503:
            assert time.monotonic() < deadline
        assert len(rows_of(journal)) == 2
        assert main(["journal", "restore", str(backup), "--journal", str(journal)]) == 0
        assert client.post("/v1/predictions", json=INPUTS).status_code == 200
    assert len(rows_of(journal)) == 6
    assert "added 2 predictions" in capsys.readouterr().out
