"""Experiments through the commands a user types: one, a grid in the queue, a sweep, and to others by git and S3."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, run
from hypothesis import given
from hypothesis import strategies as st

from batchyield.pins import noise, params, remotes
from batchyield.pins.failure import OUTSIDE, SILENT, first_useful_line
from batchyield.pins.queue import Queue, State
from batchyield.pins.settings import apart, said
from batchyield.pins.shown import shown

pytestmark = pytest.mark.slow

METRICS = ("cross_validation", "forward", "test")
TOO_MANY = 1000000
SCORES = {name: f"data/metrics/{name}.json" for name in METRICS}


def dvc(root, *arguments):
    return run("dvc", *arguments, cwd=root).stdout


def wait(root, *names):
    queue = Queue(root)
    for _ in range(1000):
        tasks = {task.name: task.state for task in queue.tasks()}
        if all(tasks[name] not in (State.WAITING, State.RUNNING) for name in names):
            return tasks
        time.sleep(0.1)
    raise TimeoutError


@pytest.fixture(scope="module")
def lab(quick, tmp_path_factory):
    """A checkout with quick choices, in which `alone` was run as an experiment and `pair-1`, `pair-2` by the queue."""
    root = tmp_path_factory.mktemp("experiments") / "checkout"
    shutil.copytree(quick, root, symlinks=True)
    # `dvc exp run -S` composes anew from conf/, so the choices are made there.
    for file, changes in (
        ("config.yaml", {"model": "ridge", "evaluation": "quick"}),
        ("evaluation/quick.yaml", {"folds": 2, "repeats": 2, "bootstrap": 50}),
    ):
        text = (root / "conf" / file).read_text()
        for name, value in changes.items():
            text = re.sub(rf"\b{name}: .*", f"{name}: {value}", text)
        (root / "conf" / file).write_text(text)
    params.check(root)
    run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "choose", cwd=root)
    dvc(root, "exp", "run", "--name", "alone", "-S", "model=elastic_net")
    dvc(root, "exp", "run", "--queue", "--name", "pair", "-S", "model=elastic_net,mean")
    refused = run("batchyield", "sweep", "model=mean", cwd=root, check=False)
    dvc(root, "queue", "start", "--jobs", "2")
    assert wait(root, "pair-1", "pair-2") == {"pair-1": State.DONE, "pair-2": State.DONE}
    yield root, refused
    dvc(root, "queue", "stop")


def found(root):
    """The commit with all its experiments, as DVC's VS Code extension reads them."""
    [baseline] = shown([run("git", "rev-parse", "HEAD", cwd=root).stdout.strip()], root)
    return baseline, baseline.named()


def test_params_and_metrics_of_every_experiment_are_shown(lab):
    root, _ = lab
    baseline, named = found(root)
    assert {"alone", "pair-1", "pair-2"} <= named.keys()
    for commit in (baseline, *(named[name] for name in ("alone", "pair-1", "pair-2"))):
        assert commit.data.metrics.keys() == set(SCORES.values())
        assert all(commit.data.figure(name, "score") > 0 for name in METRICS)
    assert [named[name].data.settings()["model.kind"] for name in ("alone", "pair-2")] == ["elastic_net", "mean"]
    assert baseline.data.settings()["model.kind"] == "ridge"
    # Run in the workspace or in one of its own, the same choice gives the same bytes.
    assert named["alone"].data.outs == named["pair-1"].data.outs
    assert named["pair-2"].data.figure("test", "score") > named["alone"].data.figure("test", "score")


def test_every_plot_has_points_of_both_sides(lab):
    root, _ = lab
    drawn = json.loads(dvc(root, "plots", "diff", "HEAD", "pair-2", "--json", "--split"))["data"]
    assert drawn.keys() == {"predicted", "residuals", "importance", "effects", "learning"}
    for title, [plot] in drawn.items():
        assert set(plot["revisions"]) == {"HEAD", "pair-2"}, title
        points = plot["anchor_definitions"]["<DVC_METRIC_DATA>"]
        assert {point["rev"] for point in points} == {"HEAD", "pair-2"}, title


def test_two_experiments_are_compared_and_one_is_taken_over(lab):
    root, _ = lab
    changed = json.loads(dvc(root, "exp", "diff", "HEAD", "pair-2", "--json"))
    assert changed["params"]["params.yaml"]["model.kind"] == {"old": "ridge", "new": "mean"}
    assert changed["metrics"][SCORES["test"]]["score"]["diff"] > 0
    dvc(root, "exp", "apply", "pair-2")
    assert "kind: mean" in (root / "params.yaml").read_text()
    assert "up to date" in dvc(root, "status")
    _, named = found(root)
    measured = json.loads((root / SCORES["test"]).read_text())
    assert measured == named["pair-2"].data.metrics[SCORES["test"]].data
    dvc(root, "exp", "branch", "pair-1", "elastic")
    assert "kind: elastic_net" in run("git", "show", "elastic:params.yaml", cwd=root).stdout
    assert run("git", "rev-parse", "elastic", cwd=root).stdout.strip() == named["pair-1"].rev


def test_a_colleague_pulls_an_experiment_through_git_and_s3(lab, tmp_path):
    root, _ = lab
    run("git", "init", "-q", "--bare", "-b", "main", "hub.git", cwd=tmp_path)
    run("git", "push", "-q", str(tmp_path / "hub.git"), "HEAD:main", cwd=root)
    dvc(root, "exp", "push", str(tmp_path / "hub.git"), "pair-2")
    run("git", "clone", "-q", "hub.git", "colleague", cwd=tmp_path)
    theirs = tmp_path / "colleague"
    remotes.lend(root, theirs)
    assert "pair-2" in dvc(theirs, "exp", "list", "origin")
    dvc(theirs, "exp", "pull", "origin", "pair-2")
    dvc(theirs, "exp", "apply", "pair-2")
    _, named = found(root)
    for name in METRICS:
        assert json.loads((theirs / SCORES[name]).read_text()) == named["pair-2"].data.metrics[SCORES[name]].data
    assert "up to date" in dvc(theirs, "status"), "the outputs came from S3"
    before = (theirs / "dvc.lock").read_bytes()
    dvc(theirs, "repro", "--force", "--single-item", "--no-run-cache", "train")
    assert (theirs / "dvc.lock").read_bytes() == before, "and are what their code makes"


def test_what_is_left_in_the_queue_is_not_mixed_in(lab):
    _, refused = lab
    assert refused.returncode == 2
    assert "pair-1, pair-2" in refused.stderr
    assert "--resume" in refused.stderr


def test_a_sweep_ranks_what_came_out_and_says_what_failed(lab):
    root, _ = lab
    grid = ("model=mean,ridge", f"validate.minimum_rows=100,{TOO_MANY}")
    done = run("batchyield", "sweep", "--json", "--name", "grid", *grid, cwd=root, check=False)
    assert done.returncode == 1, done.stderr
    made = json.loads(done.stdout)
    [ranking] = made["rankings"]
    rows = ranking["rows"]
    assert [(row["rank"], row["name"]) for row in rows] == [(1, "grid-3"), (2, "grid-1")]
    assert [row["params"] for row in rows] == [{}, {"model.kind": "mean"}]
    for measured in ("cross_validation", "test"):
        assert rows[0][measured]["value"] == 0, "the committed choice gives the committed figures"
        apart = rows[1]["scores"][measured] - ranking["scores"][measured]
        assert rows[1][measured]["value"] == pytest.approx(apart, abs=2e-9)
        assert 0 < rows[1][measured]["low"] <= rows[1][measured]["value"] <= rows[1][measured]["high"]
    assert ranking["doubts"] == []
    assert [failure["name"] for failure in made["failed"]] == ["grid-2", "grid-4"]
    for failure in made["failed"]:
        assert "breaks the data contract" in failure["said"]
        assert str(TOO_MANY) in failure["said"]
        assert str(TOO_MANY) in dvc(root, "queue", "logs", failure["name"])
    assert "4 experiments named grid" in done.stderr
    assert "[4/4] grid-" in done.stderr
    assert Queue(root).workers() == 0


def test_ctrl_c_leaves_nothing_running_and_the_rest_can_go_on(lab):
    root, _ = lab
    levels = f"{TOO_MANY},100,{TOO_MANY + 1}"  # the first fails at once, the second takes its time, the third waits
    sweep = subprocess.Popen(
        [
            Path(sys.executable).parent / "batchyield",
            "sweep",
            "--jobs",
            "1",
            "--name",
            "cut",
            f"validate.minimum_rows={levels}",
            "split.seed=5",  # of which nothing is cached yet
        ],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = iter(sweep.stderr.readline, "")
    assert any(line.startswith("[1/3]") for line in said)
    sweep.send_signal(signal.SIGINT)
    out, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 130
    assert Queue(root).workers() == 0
    tasks = {task.name: task.state for task in Queue(root).tasks() if task.name.startswith("cut-")}
    left = [name for name, state in tasks.items() if state is State.WAITING]
    assert State.RUNNING not in tasks.values()
    assert left
    assert f"left in the queue: {', '.join(left)}" in out
    done = run("batchyield", "sweep", "--resume", cwd=root, check=False)
    assert done.returncode == 1
    assert all(f"dvc queue logs cut-{n}" in done.stdout for n in (1, 3))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model=ridge,nosuch"], "model=nosuch: In 'config': Could not find 'model/nosuch'"),
        (["model="], "Available options in 'model': elastic_net"),
        (["model=ridge", "model.alpha=1,-1"], "$.model.alpha: expected float > 0.0, got -1"),
        (["nonsense"], "missing EQUAL"),
        (["+typo=1"], "unknown field typo"),
    ],
)
def test_a_grid_with_one_wrong_point_is_refused_before_anything_is_queued(overrides, named):
    with pytest.raises(params.ParamsError, match="correct the override") as refused:
        params.grid(ROOT, overrides)
    assert named in str(refused.value)


def test_a_grid_is_every_combination():
    assert params.grid(ROOT, ["model=ridge,mean", "intervals.level=0.8,0.9"]) == [
        [model, level]
        for model in ("model=ridge", "model=mean")
        for level in ("intervals.level=0.8", "intervals.level=0.9")
    ]


names = st.sampled_from(["a", "model.kind", "model.x", "model.y", "split.seed"])
values = st.one_of(st.integers(0, 2), st.sampled_from(["u", "v"]))


@given(st.dictionaries(names, values), st.lists(st.dictionaries(names, values), min_size=1, max_size=4))
def test_what_tells_experiments_apart_is_true_and_enough(base, each):
    shared, own = apart(base, each)
    for settings_, differing in zip(each, own, strict=True):
        told = dict(shared) | dict(differing)
        assert told.items() <= settings_.items()
        assert not told.items() & base.items()
        if settings_.get("model.kind") == base.get("model.kind"):
            assert told == {name: value for name, value in settings_.items() if base.get(name) != value}


def test_settings_are_said_as_overrides():
    assert said({"model.kind": "ridge", "features.groups": ["readings"]}) == 'model=ridge features.groups=["readings"]'


def test_a_difference_is_noise_where_the_cut_or_the_draw_may_be_behind_it(tmp_path):
    assert noise.of_folds(1e-4, 1.01e-4, (2e-6, 2e-6), (5, 5)).noise is True
    assert noise.of_folds(0.9e-4, 1.01e-4, (2e-6, 2e-6), (5, 5)).noise is False
    assert noise.of_folds(0.9e-4, 1.01e-4, (0.0, 2e-6), (1, 5)).noise is False, "one repeat has no spread of its own"
    assert noise.of_folds(0.9e-4, 1.01e-4, (0.0, 0.0), (1, 1)).noise is None

    def answers(name, errors, first=0):
        rows = [f"b{first + n},0.9,{0.9 + error}" for n, error in enumerate(errors)]
        (tmp_path / name).write_text("\n".join(["id,actual,yields", *rows, ""]))
        return tmp_path / name

    base = answers("base", [0.01, 0.02, 0.3] * 30)
    better = noise.of_answers(answers("better", [0.009, 0.019, 0.29] * 30), base, 200, 0.9, 1)
    assert better.high < 0, "each batch a little better, though the scores' own intervals overlap"
    assert noise.of_answers(answers("mixed", [0.02, 0.01, 0.3] * 30), base, 200, 0.9, 1).noise is True
    assert noise.of_answers(answers("others", [0.01] * 90, first=7), base, 200, 0.9, 1) is None


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("Running stage 'a':\n> python a\nx breaks:\n  line 3\nERROR: failed", "x breaks: line 3"),
        ("> python a\nfine\n> python b\n\nparams.yaml: no\n  do this\nERROR: failed", "params.yaml: no"),
        ("> python a\nTraceback (most recent call last):\n  File\nKeyError: 'A1'\nERROR: failed", "KeyError: 'A1'"),
        (
            "> python a\nERROR: failed to run: python a, exited with -9",
            "ERROR: failed to run: python a, exited with -9",
        ),
        ("> python a\nERROR: failed to run: python a, exited with -15", OUTSIDE),
        ("> python a\nERROR: failed to run: python a, exited with 143", OUTSIDE),
        ("", SILENT),
    ],
)
def test_the_first_useful_line_of_a_log(log, line):
    assert first_useful_line(log) == line
