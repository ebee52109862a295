"""docs/another-plant.md, done in a copy: another plant's file, of which nothing in this project knows a word."""

import csv
import io
import json
import os
import re

import numpy as np
import pytest
from support.commands import EVALUATED, ROOT, run

from batchyield.versioning import git, hydra_params
from batchyield.versioning.storage import embedded_s3

pytestmark = pytest.mark.slow

READINGS = {
    "cement": (100, 540), "slag": (0, 360), "ash": (0, 200), "water": (120, 250), "plasticizer": (0, 32),
    "coarse": (800, 1150), "fine": (600, 1000), "age": (1, 365),
}  # fmt: skip
CONTRACT_KEYS = re.compile(
    r'(?i)"(yield|yields)"|id,yield,lower,upper|\.yield\b|yield-model|batchyield|_predicted_yield|/yields?/|\w*yields?\.csv'
)
"""JSON fields, CSV header and names of the package: the public contract, the same for every plant."""


def strength(batch, draw):
    made = 8 + 0.08 * batch["cement"] + 0.05 * batch["slag"] - 0.1 * (batch["water"] - 180) + 0.03 * batch["age"]
    return min(80.0, max(2.0, made + draw.normal(0, 3)))


@pytest.fixture(scope="module")
def concrete(tmp_path_factory):
    """The file of another plant: eight numbers, a target in MPa, no names, UTF-8."""
    draw, text = np.random.default_rng(1), io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*READINGS, "strength"])
    for _ in range(1000):
        batch = {name: round(draw.uniform(*limits), 1) for name, limits in READINGS.items()}
        table.writerow([*batch.values(), round(strength(batch, draw), 2)])
    file = tmp_path_factory.mktemp("concrete") / "concrete.csv"
    file.write_text(text.getvalue())
    return file


@pytest.fixture(scope="module")
def texts(concrete, tmp_path_factory):
    """All texts that a rebuilt and serving copy of the project shows for the file, by kind."""
    root = git.copy_working_tree(ROOT, tmp_path_factory.mktemp("copy"))
    ours = os.pathsep.join(("src", ".", str(ROOT / "tests")))

    def command(*words, cwd=root):
        return run("python", "-m", "batchyield.cli", *words, cwd=cwd, PYTHONPATH=ours).stdout

    shown = {"new": command("plant", "new", str(concrete), "--target", "strength", "--unit", "MPa", "--force")}
    command("plant", "dashboards")
    touched = [line[3:] for line in f" {git.git('status', '--porcelain', cwd=root).strip()}".splitlines()]
    shown["touched"] = "\n".join(sorted({re.sub("^(conf|monitoring)/.*", r"\1/", path) for path in touched}))
    rebuilt = root / "rebuilt"
    port = str(embedded_s3.free_port())
    command("data", "rebuild", str(concrete), *EVALUATED, "model=mean", "--into", str(rebuilt), "--s3-port", port)
    hydra_params.write_overrides(rebuilt, [*EVALUATED, "model=ridge"])
    hydra_params.write_params(rebuilt)
    run("dvc", "repro", "-q", cwd=rebuilt)
    done = run("python", "-m", "support.other_plant", str(concrete), cwd=rebuilt, PYTHONPATH=ours)
    return shown | json.loads(done.stdout)


def test_only_the_plant_and_its_choices(texts):
    """The new plant is the table and conf/; units of dashboard and alerts are written from the table."""
    assert texts["touched"].splitlines() == ["conf/", "monitoring/", "src/batchyield/plant/table.py"]
    assert "1000 batches, UTF-8; names in no column: by row" in texts["new"]


def test_served(texts):
    """Predictions in JSON and CSV, explanations, outcomes and monitoring are those of the other plant."""
    predictions = json.loads(texts["json"])["predictions"]
    assert len(predictions) == 120
    assert all(2 < each["lower"] < each["yield"] < each["upper"] < 100 for each in predictions)
    lines = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert [float(line["yield"]) for line in lines] == [each["yield"] for each in predictions]
    assert {line["id"] for line in lines} == {""}, "the file has no names"
    for each in json.loads(texts["explained"])["predictions"]:
        made = each["explanation"]
        effects = sum(one["effect"] for one in made["contributions"])
        assert made["baseline"] + effects + made["rest"] == pytest.approx(each["yield"], abs=1e-2)
    assert json.loads(texts["outcomes"])["matched"] == 120
    monitored = json.loads(texts["monitoring"])
    assert [each["reading"] for each in monitored["window"]["readings"]] == list(READINGS)
    assert json.loads(texts["readings"])["target"]["unit"] == "MPa"


def test_words(texts):
    """Texts name the target and its unit."""
    assert "a strength is a number near" in texts["refused"]
    assert "a strength is a number near" in texts["wrong cell"]
    assert "predicted strength [MPa]" in texts["openapi"]
    assert "the 8 readings" in texts["openapi"]
    assert "Predicted strength over time" in texts["drift report"]
    assert re.search(r"Mean [0-9.]+.MPa; in the training [0-9.]+.MPa", texts["drift report"])
    assert re.search(r"Mean error [0-9.]+ MPa; promised [0-9.]+ MPa", texts["drift report"])
    assert re.search(r"limits of a steady plant \([0-9.]+.MPa to [0-9.]+.MPa\)", texts["drift report"])
    assert re.search(r"预测\w+随时间的变化", texts["drift report in Chinese"])
    assert re.search(r"RMSE on 200 test batches [0-9.]+ → [0-9.]+ MPa", texts["review"])
    assert "test rmse | MPa" in texts["review"]
    assert "test score | MPa²" in texts["review"]
    assert "with strengths" in texts["contract"]
    assert '"unit": "suffix: MPa"' in texts["dashboard"]
    assert 'printf "%.3g MPa"' in texts["alerts"]


def test_no_word_of_the_first_plant(texts):
    """Nothing that is served or written speaks of yields, fractions or 42 readings."""
    for kind, text in texts.items():
        text = CONTRACT_KEYS.sub("", text)
        assert not re.findall(r"(?i).{0,60}yield.{0,60}", text), kind
        assert not re.search(r"\b42 readings|收率|as a fraction|percentage points|e-4\b", text), kind
