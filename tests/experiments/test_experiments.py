"""Experiments through the commands a user types: one, a grid in the queue, a sweep, and shared by git and S3."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.commands import ROOT, run
from support.scratch_repository import commit

from batchyield.errors import CommandError, ConfigError
from batchyield.experiments import exp_show, ranking
from batchyield.experiments.exp_show import read_experiments
from batchyield.experiments.ranking import format_overrides, split_settings
from batchyield.experiments.sweep import run_sweep
from batchyield.versioning import git, hydra_params
from batchyield.versioning.lock_diff import flatten_results
from batchyield.versioning.storage import remotes

pytestmark = pytest.mark.slow

METRICS = ("cross_validation", "forward", "test")
TOO_MANY = 1000000
SCORES = {name: f"data/metrics/{name}.json" for name in METRICS}


def dvc(root, *arguments):
    return run("dvc", *arguments, cwd=root).stdout


@pytest.fixture(scope="module")
def lab(quick, tmp_path_factory):
    """A checkout with quick choices, in which `alone` was run as an experiment and `pair-1`, `pair-2` by the queue."""
    root = tmp_path_factory.mktemp("experiments") / "checkout"
    shutil.copytree(quick, root, symlinks=True)
    dvc(root, "exp", "run", "--name", "alone", "-S", "model=elastic_net")
    dvc(root, "exp", "run", "--queue", "--name", "pair", "-S", "model=elastic_net,mean")
    refused = run("batchyield", "experiments", "run", "model=mean", cwd=root, check=False)
    dvc(root, "exp", "run", "--run-all", "--jobs", "2")  # ends with the last experiment
    return root, refused


def found(root):
    """Return HEAD, and the newest commit of each experiment by name."""
    baseline = read_experiments(root)
    return baseline, {name: experiment.revs[0] for name, experiment in baseline.named().items()}


def running_stage(root):
    """Wait until a stage of an experiment in the queue runs; return its process."""
    while True:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if "batchyield.pipeline" in " ".join(process.cmdline()) and root in Path(process.cwd()).parents:
                    return process
        time.sleep(0.1)


class TestExperiments:
    """DVC's own commands on the pipeline."""

    def test_params_and_metrics(self, lab):
        """`dvc exp show --json` has the params and all metrics of the commit and of each experiment."""
        root, _ = lab
        baseline, named = found(root)
        assert {"alone", "pair-1", "pair-2"} <= named.keys()
        for revision in (baseline, *(named[name] for name in ("alone", "pair-1", "pair-2"))):
            assert revision.data.metrics.keys() >= set(SCORES.values())
            assert all(revision.metric(name, "score") > 0 for name in METRICS)
        assert [named[name].settings()["model.kind"] for name in ("alone", "pair-2")] == ["elastic_net", "mean"]
        assert baseline.settings()["model.kind"] == "ridge"
        assert named["alone"].data.outs == named["pair-1"].data.outs, "in the workspace and in the queue alike"
        assert named["pair-2"].metric("test", "score") > named["alone"].metric("test", "score")

    def test_plots(self, lab):
        """`dvc plots diff` has points of both sides for every plot."""
        root, _ = lab
        drawn = json.loads(dvc(root, "plots", "diff", "HEAD", "pair-2", "--json", "--split"))["data"]
        assert drawn.keys() == {"predicted", "residuals", "importance", "effects", "learning", "bias"}
        for title, [plot] in drawn.items():
            assert set(plot["revisions"]) == {"HEAD", "pair-2"}, title
            points = plot["anchor_definitions"]["<DVC_METRIC_DATA>"]
            assert {point["rev"] for point in points} == {"HEAD", "pair-2"}, title

    def test_diff_apply_branch(self, lab):
        """Two experiments are compared; one is applied to the workspace and another becomes a branch."""
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

    def test_show(self, lab):
        """`batchyield experiments show` has all experiments, the main score first, in 80 columns."""
        root, _ = lab
        shown = run("batchyield", "experiments", "show", cwd=root).stdout.splitlines()
        assert shown[0].split()[:2] == ["cv", "score"]
        assert max(map(len, shown)) <= 80
        for name in ("alone", "pair-1", "pair-2"):
            assert any(name in line and "model=" in line for line in shown), name

    def test_keep(self, lab, tmp_path):
        """`batchyield experiments keep` makes a branch whose conf/, params, lock and metrics are the experiment's."""
        root = tmp_path / "kept"
        shutil.copytree(lab[0], root, symlinks=True)
        run("git", "config", "user.name", "t", cwd=root)
        run("git", "config", "user.email", "t@localhost", cwd=root)
        _, named = found(root)
        run("git", "checkout", "-q", "-f", named["alone"].rev, "--", ".", cwd=root)  # as `dvc exp run` leaves it
        (root / "Makefile").write_text("# mine")
        refused = run("batchyield", "experiments", "keep", "pair-2", cwd=root, check=False)
        assert refused.returncode == 2
        assert "changes that are in no experiment: Makefile\n" in refused.stderr
        run("git", "checkout", "-q", "HEAD", "--", "Makefile", cwd=root)
        done = run("batchyield", "experiments", "keep", "pair-2", cwd=root).stdout
        assert "choices  model=mean\n" in done
        assert "\n  - model: mean\n" in run("git", "show", "refs/heads/pair-2:conf/config.yaml", cwd=root).stdout
        changed = set(run("git", "diff", "--name-only", "main", "refs/heads/pair-2", cwd=root).stdout.split())
        assert {"conf/config.yaml", "params.yaml", "dvc.lock", SCORES["test"]} <= changed
        differing = run("git", "diff", "--name-only", named["pair-2"].rev, "refs/heads/pair-2", cwd=root).stdout
        assert differing == "conf/config.yaml\n"

    def test_push_and_pull(self, lab, tmp_path):
        """An experiment travels by git and S3, and its lock is what its code makes."""
        root, _ = lab
        run("git", "init", "-q", "--bare", "-b", "main", "hub.git", cwd=tmp_path)
        run("git", "push", "-q", str(tmp_path / "hub.git"), "HEAD:main", cwd=root)
        dvc(root, "exp", "push", str(tmp_path / "hub.git"), "pair-2")
        run("git", "clone", "-q", "hub.git", "colleague", cwd=tmp_path)
        theirs = tmp_path / "colleague"
        remotes.copy_remotes(root, theirs)
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


class TestSweep:
    """`batchyield experiments run`."""

    def test_other_experiments_queued(self, lab):
        """A sweep refuses to run what others have queued, and names it."""
        _, refused = lab
        assert refused.returncode == 2
        assert "pair-1, pair-2" in refused.stderr
        assert "dvc queue remove --queued" in refused.stderr

    def test_finished_are_skipped(self, lab):
        """A grid whose experiments are finished is ranked without running anything."""
        root, _ = lab
        done = run("batchyield", "experiments", "run", "--name", "pair", "model=elastic_net,mean", cwd=root)
        assert "2 experiments named pair, 2 of them finished or queued already" in done.stderr
        assert re.search(r"pair-1 +model=elastic_net\n.* pair-2 +model=mean\n", done.stdout)
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert "dvc exp apply pair-1" in done.stdout

    def test_name_taken(self, lab):
        """A name that belongs to an experiment with other params is refused."""
        root, _ = lab
        refused = run("batchyield", "experiments", "run", "--name", "pair", "model=ridge,mean", cwd=root, check=False)
        assert refused.returncode == 2
        assert "another experiment is named pair-1" in refused.stderr

    def test_ranking_and_failures(self, lab):
        """Finished experiments are ranked against the commit; failed ones come with the last lines of their log."""
        root, _ = lab
        grid = ("model=mean,ridge", f"validate.minimum_rows=100,{TOO_MANY}")
        done = run("batchyield", "experiments", "run", "--json", "--name", "grid", *grid, cwd=root, check=False)
        assert done.returncode == 1, done.stderr
        made = json.loads(done.stdout)
        ranking, rows = made["ranking"], made["ranking"]["rows"]
        assert [(row["rank"], row["name"]) for row in rows] == [(1, "grid-3"), (2, "grid-1")]
        assert [row["params"] for row in rows] == [{}, {"model.kind": "mean"}]
        for measured in ("cross_validation", "test"):
            assert rows[0][measured]["value"] == 0, "the committed choice gives the committed scores"
            difference = rows[1]["scores"][measured] - ranking["scores"][measured]
            assert rows[1][measured]["value"] == pytest.approx(difference, abs=2e-5)
            assert rows[1][measured]["low"] <= rows[1][measured]["value"] <= rows[1][measured]["high"]
        assert ranking["doubts"] == []
        assert [failure["name"] for failure in made["failed"]] == ["grid-2", "grid-4"]
        for failure in made["failed"]:
            assert any("breaks the data contract" in line for line in failure["log"])
            assert str(TOO_MANY) in dvc(root, "queue", "logs", failure["name"])
        assert "4 experiments named grid" in done.stderr
        assert "[4/4] grid-" in done.stderr
        assert "0 active, 0 idle" in dvc(root, "queue", "status")

    def test_interrupt_and_rerun(self, lab):
        """Ctrl-C ends what runs and what waits; the same command runs what is missing."""
        root, _ = lab
        levels = f"{TOO_MANY},100,{TOO_MANY + 1}"  # the first fails at once, the second takes its time, the third waits
        grid = ("--jobs", "1", "--name", "cut", f"validate.minimum_rows={levels}", "split.seed=5")
        command = [Path(sys.executable).parent / "batchyield", "experiments", "run", *grid]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
            lines = []
            while not (lines and lines[-1].startswith("[1/3]")):
                lines.append(sweep.stderr.readline())
                assert lines[-1], "".join(lines)
            stage = running_stage(root)
            sweep.send_signal(signal.SIGINT)
            out, _ = sweep.communicate(timeout=480)
        assert sweep.returncode == 130
        assert not stage.is_running(), "the stage ends with the sweep"
        status = dvc(root, "queue", "status")
        assert "0 active, 0 idle" in status
        assert not re.search("Running|Queued", status)
        assert "cut-3; run the same command to go on" in out
        done = run("batchyield", "experiments", "run", *grid, cwd=root, check=False)
        assert done.returncode == 1
        assert "cut-2" in done.stdout.partition("failed:")[0]
        assert all(f"dvc queue logs cut-{n}" in done.stdout for n in (1, 3))


def test_folder_being_made(tmp_path, monkeypatch):
    """While DVC makes the folder of an experiment, `dvc exp show` fails and is run again."""
    run("git", "init", "-q", cwd=tmp_path)
    run("dvc", "init", "-q", cwd=tmp_path)
    stage = {"cmd": f"touch {tmp_path}/reached && cat {tmp_path}/go", "params": ["a"]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"wait": stage}}))
    (tmp_path / "params.yaml").write_text("a: 1\n")
    commit(tmp_path, "a stage that waits")
    os.mkfifo(tmp_path / "go")
    command = (sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", "slow", "-S", "a=2")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while not (tmp_path / "reached").exists():
            assert running.poll() is None
        (made,) = tmp_path.glob(".dvc/tmp/exps/**/.dvc")
        aside = made.rename(made.with_name("aside"))
        monkeypatch.setattr(exp_show, "time", SimpleNamespace(sleep=lambda _: aside.rename(made)))
        assert exp_show.read_experiments(tmp_path).named()["slow"].state == "running"
        aside = made.rename(aside)
        monkeypatch.setattr(exp_show, "LOOKS", 1)
        with pytest.raises(CommandError, match="does not exist"):
            exp_show.read_experiments(tmp_path)
        aside.rename(made)
        (tmp_path / "go").write_text("")
        assert running.wait() == 0


class TestGrid:
    """Overrides with commas."""

    @pytest.mark.parametrize(
        ("overrides", "problem"),
        [
            (["model=ridge,nosuch"], "model=nosuch: In 'config': Could not find 'model/nosuch'"),
            (["model="], "Available options in 'model': elastic_net"),
            (["modle=ridge"], "unknown parameter 'modle'; did you mean 'model'?"),
            (["model=ridge", "model.alpah=1"], "unknown parameter 'model.alpah'; did you mean 'model.alpha'?"),
            (["model=ridge", "model.alpha=1,-1"], "$.model.alpha: expected float > 0.0, got -1"),
            (["model=ridge", "model.alpha=interval(1,2)"], "Can only enumerate CHOICE and RANGE sweeps"),
            (["nonsense"], "missing EQUAL"),
            (["+typo=1"], "unknown field typo"),
        ],
    )
    def test_wrong_point(self, overrides, problem):
        """One invalid point of a grid refuses the whole of it, with a suggestion where there is one."""
        with pytest.raises(hydra_params.ParamsError, match="correct the override") as refused:
            hydra_params.expand_grid(ROOT, overrides)
        assert problem in str(refused.value)

    def test_every_combination(self):
        """A grid has every combination, the last override changing first."""
        assert hydra_params.expand_grid(ROOT, ["model=ridge,mean", "intervals.level=0.8,0.9"]) == [
            [model, level]
            for model in ("model=ridge", "model=mean")
            for level in ("intervals.level=0.8", "intervals.level=0.9")
        ]


names = st.sampled_from(["a", "model.kind", "model.x", "model.y", "split.seed"])
values = st.one_of(st.integers(0, 2), st.sampled_from(["u", "v"]))


class TestKeep:
    """Overrides in conf/."""

    @pytest.mark.parametrize(
        "overrides",
        [
            ["model=ridge"],
            ["intervals.level=0.8"],
            ["model=ridge", "model.alpha=0.7"],
            ["features.groups=[readings, ratios]"],
            ["model=line_blend", "model.extra_trees.seed=4", "split=forward"],
        ],
    )
    def test_overrides(self, tmp_path, overrides):
        """Params are traced back to overrides, which change conf/ where they stand; comments stay."""
        shutil.copytree(ROOT / "conf", tmp_path / "conf")
        wanted = hydra_params.compose(tmp_path, overrides)
        found = hydra_params.find_overrides(tmp_path, wanted)
        assert {text.replace('"', "") for text in found} == set(overrides)
        changed = hydra_params.write_overrides(tmp_path, found)
        assert hydra_params.compose(tmp_path) == wanted
        for file in changed:
            kept = [line for line in (ROOT / file).read_text().splitlines() if line.startswith("#")]
            assert [line for line in (tmp_path / file).read_text().splitlines() if line.startswith("#")] == kept

    def test_engine(self, tmp_path):
        """The engine of an experiment is not kept; it is no difference between experiments either."""
        shutil.copytree(ROOT / "conf", tmp_path / "conf")
        ran = hydra_params.compose(tmp_path, ["engine=dask", "engine.workers=2", "model=ridge"])
        assert hydra_params.find_overrides(tmp_path, ran) == ["model=ridge"]
        others = [hydra_params.compose(tmp_path, overrides) for overrides in (["model=ridge"], ["engine.workers=4"])]
        alike, other = (flatten_results(yaml.safe_load(text)) for text in others)
        assert flatten_results(yaml.safe_load(ran)) == alike != other

    def test_unwritable(self, tmp_path):
        """What conf/ has no place for is refused, and nothing changes."""
        shutil.copytree(ROOT / "conf", tmp_path / "conf")
        for overrides in (["model.alpah=1"], ["nosuch=1"], ["model=ridge", "model.n_estimators=3"]):
            with pytest.raises(hydra_params.ParamsError):
                hydra_params.write_overrides(tmp_path, overrides)
        assert hydra_params.compose(tmp_path) == hydra_params.compose(ROOT)


class TestSettings:
    """What tells experiments apart."""

    @given(st.dictionaries(names, values), st.lists(st.dictionaries(names, values), min_size=1, max_size=4))
    def test_split_settings(self, base, each):
        """Listed params are the experiment's own and differ from the baseline; none is missing for the same kind."""
        shared, own = split_settings(base, each)
        for settings, differing in zip(each, own, strict=True):
            listed = dict(shared) | dict(differing)
            assert listed.items() <= settings.items()
            assert not listed.items() & base.items()
            if settings.get("model.kind") == base.get("model.kind"):
                assert listed == {name: value for name, value in settings.items() if base.get(name) != value}

    def test_format_overrides(self):
        """Settings are shown as the overrides that choose them."""
        settings = {"model.kind": "ridge", "features.groups": ["readings"]}
        assert format_overrides(settings) == 'model=ridge features.groups=["readings"]'


def cross_validated(seed, extra=0):
    """Return whether two linear models (half of six equal features each, one `extra` more) differ beyond noise."""
    rng, n, m, folds, repeats = np.random.default_rng(seed), 240, 60, 5, 2
    features = rng.normal(size=(n + m, 6))
    y = features.sum(axis=1) + rng.normal(size=n + m)

    def costs(side, fit, judge):
        coefficients = np.linalg.lstsq(side[fit], y[fit], rcond=None)[0]
        return (side[judge] @ coefficients - y[judge]) ** 2 / 2

    cuts = [np.array_split(rng.permutation(n), folds) for _ in range(repeats)]
    sides = (features[:, : 3 + extra], features[:, 3:])
    scores = [
        np.mean([costs(side, np.setdiff1d(np.arange(n), part), part).mean() for cut in cuts for part in cut])
        for side in sides
    ]
    mine, base = (costs(side, np.arange(n), np.arange(n, n + m)) for side in sides)
    return (
        ranking.nadeau_bengio_interval(scores[0] - scores[1], list(mine - base), n, repeats, folds, 0.9).noise is False
    )


class TestNoise:
    """Chance or a better model."""

    def test_false_positives(self):
        """Two equally good models differ beyond noise in at most the 10 % of data sets that 90 % confidence allows."""
        assert np.mean([cross_validated(seed) for seed in range(200)]) <= 0.1

    def test_power(self):
        """A model that sees two features more is recognized as better in most data sets."""
        assert np.mean([cross_validated(seed, extra=2) for seed in range(50)]) >= 0.8

    def test_unknown(self):
        """Without predictions nothing is known about the noise."""
        assert ranking.nadeau_bengio_interval(1e-6, None, 100, 5, 5, 0.9).noise is None

    def test_paired_batches(self, tmp_path):
        """The paired bootstrap sees a small gain on every batch, and refuses other batches."""

        def answers(name, errors, first=0):
            rows = [f"b{first + n},0.9,{0.9 + error}" for n, error in enumerate(errors)]
            (tmp_path / name).write_text("\n".join(["id,actual,yields", *rows, ""]))
            return tmp_path / name

        base = answers("base", [0.01, 0.02, 0.3] * 30)
        better = ranking.cost_differences(answers("better", [0.009, 0.019, 0.29] * 30), base)
        assert ranking.bootstrap_interval(better, 200, 0.9, 1).high < 0
        mixed = ranking.cost_differences(answers("mixed", [0.02, 0.01, 0.3] * 30), base)
        assert ranking.bootstrap_interval(mixed, 200, 0.9, 1).noise is True
        assert ranking.cost_differences(answers("others", [0.01] * 90, first=7), base) is None


def test_folder_not_ascii(tmp_path):
    """A sweep in a folder that DVC's queue cannot write down is refused before anything is queued."""
    root = tmp_path / "工厂"
    root.mkdir()
    git.git("init", "-q", cwd=root)
    for name in ("conf", "params.yaml"):
        (root / name).symlink_to(ROOT / name)
    git.commit(root, "a plant")
    with pytest.raises(ConfigError, match=r"DVC's queue cannot run in .*工厂"):
        run_sweep(["model=mean"], io.StringIO(), root=root)
