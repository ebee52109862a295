"""Steps of test_schema_change.py, run by the code of one schema each: `python -m support.schema_walk STEP ROOT`.

All steps share the folder ROOT with its deployed models and its journal. A step prints what it saw as JSON.
"""

import json
import sys
from pathlib import Path

from support.deployments import A, B, store_model
from support.journal_database import opened
from support.service import client_of, make_checkout

from api.openapi.examples import BATCH
from batchyield.journal.export import format_json_lines
from batchyield.journal.queries import read_predictions
from batchyield.plant.batch import ID_COLUMN
from batchyield.serving.artifact import open_artifact
from batchyield.serving.deployment.model_store import ModelStore
from batchyield.serving.deployment.rollout import deploy, rollback, set_shadow

OLD = {name: cell for name, cell in BATCH.items() if name != "C1"}
NEW = OLD | {"C1": 55.5}
CSV = {"content-type": "text/csv", "accept": "application/json"}


def sheet(batch):
    """The batch as a CSV file with a column for each of its fields."""
    lines = [[ID_COLUMN, *(name for name in batch if name != "id")], batch.values()]
    return "".join(",".join("" if cell is None else str(cell) for cell in line) + "\n" for line in lines)


def store_of(root):
    return ModelStore(root / ".serving")


def ask(root, *bodies):
    """Start the service, send each body and return the predictions, or of a refusal the violations."""
    with client_of(root, journal=str(root / "journal.sqlite"), models=str(root / ".serving")) as client:
        answers = []
        for body in bodies:
            if isinstance(body, str):
                response = client.post("/v1/predictions/csv", content=body, headers=CSV)
            else:
                response = client.post("/v1/predictions?explain=true", json={"inputs": [body]})
            found = response.json()
            answers.append(found["predictions"][0] if response.status_code == 200 else found["violations"])
        monitored = client.get("/v1/monitoring").json()
        model = client.get("/v1/model").json()
        return {
            "answers": answers,
            "version": model["version"],
            "refused": [one["reason"] for one in model["refused"]],
            "tested": [reading["reading"] for reading in monitored["window"]["readings"]],
        }


def predictions(root):
    """All predictions in the journal."""
    with opened(root / "journal.sqlite") as store:
        return list(read_predictions(store))


def exported(root):
    """The C1 of each prediction in an export of the journal."""
    return [json.loads(line)["inputs"].get("C1") for line in format_json_lines(predictions(root))]


def judged(root, before, after):
    """The numbers of batches in a comparison of two models, and in a replay of the journal by both."""
    from batchyield.review.journal_replay import replay_journal  # with scikit-learn, which one step pays for
    from batchyield.review.model_comparison import ModelIdentity, compare_models

    artifacts = [open_artifact(store_of(root).path(one), one.pins) for one in (before, after)]
    names = [ModelIdentity(one.md5, one.version, one.revision) for one in (before, after)]
    compared = compare_models(*zip(artifacts, names, strict=True), root)
    return compared.overall.batches, replay_journal(predictions(root), *artifacts[::-1]).overall.batches


def today(root):
    """Model A is trained, released and deployed."""
    make_checkout(root)
    deploy(store_of(root), store_model(root, A), 0)
    return ask(root, OLD)


def added(root):
    """C1 is added: A serves on; B is trained with C1, deployed with A in its shadow, and rolled back."""
    store = store_of(root)
    a, b = store.desired().serving, store_model(root, B)
    by_a = ask(root, OLD, sheet(OLD), NEW)
    deploy(store, b, 0, a)
    set_shadow(store, a, 0)
    by_b = ask(root, NEW)
    rollback(store, 0)
    set_shadow(store, b, 0)
    again = ask(root, OLD)
    deploy(store, b, 0, a)
    return {"a": by_a, "b": by_b, "again": again, "exported": exported(root), "judged": judged(root, a, b)}


def removed(root):
    """C1 is removed and listed as such: B cannot serve, and is rolled back to A; old clients still send C1."""
    store = store_of(root)
    by_none = ask(root)
    rollback(store, 0)
    by_a = ask(root, OLD, NEW, sheet(NEW), NEW | {"C2": 1}, NEW | {"A1": "much"})
    return {"none": by_none, "a": by_a, "exported": exported(root)}


if __name__ == "__main__":
    print(json.dumps({"added": added, "removed": removed}[sys.argv[1]](Path(sys.argv[2]))))
