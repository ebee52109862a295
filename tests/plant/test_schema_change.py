"""The schema changes and the past stays usable: a reading is added, used by a release, removed, and rolled back."""

import json
import os
import shutil

import pytest
from support.commands import ROOT, run
from support.journal_database import opened
from support.schema_walk import NEW, ask, exported, today

from batchyield.journal.retention import prune
from batchyield.plant.batch import READING_NAMES

pytestmark = pytest.mark.slow

TABLE = "src/batchyield/plant/table.py"
FIRST_ROW = "READINGS: tuple[Reading, ...] = (\n"
ROW = '    Reading("C1", "number", "°C", "of the dryer", "干燥温度", (20, 90), None, True, None, since="9.0.0"),\n'
FIRST_FEATURE = "FEATURES: tuple[FeatureRow, ...] = (\n"
REMOVED = "REMOVED: dict[str, str] = {"


def step(name, root, code, edits):
    """Run a step by a copy of this code whose table is another."""
    for part in ("src", "api"):
        shutil.copytree(ROOT / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
    text = (code / TABLE).read_text()
    for where, added in edits.items():
        assert text.count(where) == 1
        text = text.replace(where, where + added)
    (code / TABLE).write_text(text)
    path = os.pathsep.join(map(str, (code / "src", code, ROOT / "tests")))
    done = run("python", "-m", "support.schema_walk", name, str(root), cwd=code, PYTHONPATH=path)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What each step saw, and the folder with the journal and the models of all of them."""
    root, code = tmp_path_factory.mktemp("walk"), tmp_path_factory.mktemp("code")
    first = today(root)
    added = step("added", root, code / "added", {FIRST_ROW: ROW, FIRST_FEATURE: '    ratio("C1", "A1"),\n'})
    removed = step("removed", root, code / "removed", {REMOVED: '"C1": "9.1.0", '})
    return root, first, added, removed


def kinds(prediction):
    return [(warning["field"], warning["kind"]) for warning in prediction["warnings"]]


def without_warnings(prediction):
    return {name: value for name, value in prediction.items() if name not in ("warnings", "explanation")}


def test_reading_added(walked):
    """With C1 and a feature of it, the earlier model serves, explains and is rolled back to; old files are read."""
    _, first, added, _ = walked
    (before,) = first["answers"]
    of_json, of_sheet, with_new = added["a"]["answers"]
    assert of_json == with_new == before, "the same prediction and explanation as by its own code"
    assert kinds(of_sheet) == [("C1", "absent_column")]
    assert without_warnings(of_sheet) == without_warnings(before)
    assert (added["a"]["version"], added["b"]["version"], added["again"]["version"]) == ("v0.5", "v0.5625", "v0.5")
    assert added["again"]["answers"] == [before]
    assert added["a"]["tested"] == list(READING_NAMES), "drift of what the model was trained with"
    assert added["b"]["tested"] == ["C1", *READING_NAMES]
    assert added["exported"] == [None, None, None, 55.5, 55.5, None]
    assert added["judged"] == [20, 6], "golden rows, and the journal"


def test_reading_removed(walked):
    """The model that needs it is refused in one sentence; the earlier one serves; old clients get a warning."""
    _, first, added, removed = walked
    assert removed["none"]["version"] == "v0.5", "the last model that served well"
    (reason,) = set(removed["none"]["refused"])  # as the serving model, and in the shadow
    assert "card.json: the model takes features that this code does not compute: C1, C1_per_A1\n" in reason
    old, new, of_sheet, unknown, wrong = removed["a"]["answers"]
    assert removed["a"]["version"] == "v0.5"
    assert [old] == first["answers"]
    assert kinds(new) == kinds(of_sheet) == [("C1", "removed_reading")]
    assert new["warnings"][0]["message"] == "ignored: version 9.1.0 removed this reading"
    assert without_warnings(new) == without_warnings(of_sheet) == without_warnings(old)
    assert [one["where"] for one in unknown] == ["$.inputs[0].C2"]
    assert [one["where"] for one in wrong] == ["$.inputs[0].A1"]
    assert removed["exported"] == [*added["exported"], None, 55.5, None]


def test_reading_forgotten(walked):
    """Code whose table does not list the reading any more refuses it, and still reads and prunes the journal."""
    root, _, _, removed = walked
    (violations,) = ask(root, NEW)["answers"]
    assert [(one["where"], "unknown field" in one["problem"]) for one in violations] == [("$.inputs[0].C1", True)]
    assert exported(root) == removed["exported"]
    with opened(root / "journal.sqlite") as store:
        assert prune(store, 2**60) == len(removed["exported"])
