"""Hyperparameter search: `batchyield model search`."""

import re
import shutil

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml
from support.batches import CONF, params, plant
from support.commands import ROOT

from batchyield.errors import ConfigError, ConflictError, ParamsError
from batchyield.modelling import hyperparameter_search, metrics
from batchyield.modelling.hyperparameter_search import load_space
from batchyield.modelling.params import parse_params, read_params
from batchyield.modelling.parquet import write_table
from batchyield.modelling.yield_model import build_model
from batchyield.plant.features import FEATURES
from batchyield.versioning import hydra_params as composition

SPACE = """
model:
  kind: line_trees
  extra_trees: {kind: extra_trees, n_estimators: 10, min_samples_leaf: 2, max_features: 0.3, seed: 1}
values:
  extra_trees.min_samples_leaf: [1, 2, 150]
  extra_trees.max_features: [0.05, 0.1, 0.2, 0.3]
trials: 9
seed: 3
"""

QUICK = ("evaluation.repeats=2", "evaluation.folds=3")


def space(tmp_path, text=SPACE):
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return load_space(path)


def settings(*overrides):
    return params(*QUICK, *overrides)


def search(tmp_path, text=SPACE, progress=lambda _: None):
    features, yields = plant()
    return hyperparameter_search.search(
        features.values, yields, settings(), space(tmp_path, text), tmp_path / "study.db", progress
    )


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    lines = []
    return search(tmp_path_factory.mktemp("space"), progress=lines.append), lines


class TestSearch:
    """The search itself."""

    def test_same_seed(self, ranked, tmp_path):
        """The same seed gives the same ranking, to the last bit."""
        assert search(tmp_path) == ranked[0]

    def test_other_seed(self, ranked, tmp_path):
        """Another seed tries other models."""
        others = search(tmp_path, SPACE.replace("seed: 3", "seed: 4"))
        drawn = [[c.values for c in sorted(found, key=lambda c: c.number)] for found in (others, ranked[0])]
        assert drawn[0] != drawn[1]

    def test_resume(self, ranked, tmp_path):
        """A search that was interrupted goes on where it was, and ends as one that was not."""

        def interrupt(line):
            if line.startswith("trial 5"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            search(tmp_path, progress=interrupt)
        lines = []
        assert search(tmp_path, progress=lines.append) == ranked[0]
        assert [line.split(":")[0] for line in lines] == ["baseline", *(f"trial {n} of 9" for n in (6, 7, 8, 9))]
        assert lines[1:] == ranked[1][6:]

    def test_ranking(self, ranked):
        """Complete trials come first, by score; hopeless ones are pruned."""
        found, _ = ranked
        assert len(found) == 10
        assert len({tuple(candidate.values.items()) for candidate in found}) == 10, "no model is tried twice"
        assert [c.repeats for c in found] == sorted((c.repeats for c in found), reverse=True)
        complete = [c for c in found if c.repeats == 2]
        assert [c.score for c in complete] == sorted(c.score for c in complete)
        pruned = [c for c in found if c.repeats == 1]
        assert pruned
        assert all(c.score > complete[0].score for c in pruned)
        assert found[0].score < 0.8 * max(candidate.score for candidate in found), "a leaf of 150 is no tree at all"

    def test_baseline(self, ranked):
        """The baseline is never pruned; gains are measured against it, with their noise."""
        found, _ = ranked
        [baseline] = [candidate for candidate in found if candidate.number == 0]
        assert (baseline.repeats, baseline.values, baseline.gain, baseline.half_width) == (2, {}, 0, None)
        for candidate in found:
            if candidate.repeats == 2 and candidate.number:
                assert candidate.gain == pytest.approx(baseline.score - candidate.score, abs=3e-9)
                assert candidate.half_width >= 0

    def test_score(self, ranked):
        """The score is that of the pipeline's cross-validation."""
        features, yields = plant()
        chosen = msgspec.structs.replace(settings("intervals=random", "intervals.folds=2"), model=ranked[0][0].model)
        figures = metrics.cross_validate(features.values, yields, chosen).figures
        # The mean of the folds' means: folds of 400 batches differ by one in size.
        assert ranked[0][0].score == pytest.approx(figures["score"], rel=1e-2)

    def test_progress(self, ranked):
        """Each trial has a line with its score and values."""
        _, lines = ranked
        assert lines[0].startswith("baseline: ")
        assert lines[1].startswith("trial 1 of 9: ")
        assert "extra_trees.max_features=0." in lines[1]
        assert len(lines) == 10

    def test_every_combination(self, tmp_path):
        """More trials than there are combinations end with the last combination."""
        text = SPACE.replace("[0.05, 0.1, 0.2, 0.3]", "[0.05]").replace("trials: 9", "trials: 50")
        assert len(search(tmp_path, text)) == 1 + 3

    def test_table(self, ranked):
        """The table has one line per candidate, with the baseline and the noise marked."""
        header, *rows = hyperparameter_search.table(ranked[0])
        assert header.split()[-2:] == ["extra_trees.max_features", "extra_trees.min_samples_leaf"]
        assert [row.split()[0] for row in rows] == [str(rank) for rank in range(1, 11)]
        assert sum("baseline" in row for row in rows) == 1


class TestSpace:
    """Search spaces."""

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("trials: 9", "trials: 0", "$.trials: expected `int` >= 1"),
            ("trials: 9", "trials: two", "$.trials: expected `int`, got `str`"),
            ("seed: 3", "", "$: object missing required field seed"),
            ("seed: 3", "sed: 3", "$: object contains unknown field sed"),
            ("kind: line_trees", "kind: birches", "$.model.kind: invalid value 'birches'"),
            ("n_estimators: 10", "n_estimators: 0", "$.model.extra_trees.n_estimators: expected `int` >= 1"),
            ("[1, 2, 150]", "[]", "$.values[...]: expected `array` of length >= 1"),
            ("[1, 2, 150]", "[1, many]", "$.values[...][1]: expected `int | float`, got `str`"),
            ("[1, 2, 150]", "[1, 0]", "$.values.extra_trees.min_samples_leaf[1]: expected `int` >= 1: 0"),
            (
                "[0.05, 0.1, 0.2, 0.3]",
                "[0.05, 1.5]",
                "$.values.extra_trees.max_features[1]: expected `float` <= 1.0: 1.5",
            ),
            ("[1, 2, 150]", "[1, 2, 1]", "$.values.extra_trees.min_samples_leaf: duplicate value in [1, 2, 1]"),
            (
                "extra_trees.max_features: [",
                "extra_trees.maximum: [",
                "$.values.extra_trees.maximum: unknown parameter; the model has extra_trees.n_estimators, ",
            ),
            ("values:", "values: [", "invalid YAML: "),
        ],
    )
    def test_invalid(self, tmp_path, old, new, problem):
        """An invalid space is refused with the field and the value."""
        assert old in SPACE
        with pytest.raises(ParamsError) as error:
            space(tmp_path, SPACE.replace(old, new, 1))
        assert str(error.value).startswith(f"{tmp_path / 'space.yaml'}: {problem.replace('`', '')}")
        assert "correct the search space" in str(error.value)

    def test_missing(self):
        """A missing file is named, with an example of one that exists."""
        with pytest.raises(ParamsError, match=r"(?s)nowhere\.yaml: cannot be read.*conf/search/line_trees\.yaml"):
            load_space("nowhere.yaml")

    @pytest.mark.parametrize("path", sorted((ROOT / "conf/search").glob("*.yaml")), ids=lambda path: path.stem)
    def test_shipped(self, path):
        """Every space in `conf/search/` is valid."""
        assert load_space(path).trials > 1


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with conf/, params.yaml and the features of a small plant, as `dvc repro featurize` leaves them."""
    shutil.copytree(CONF, tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    composition.write_params(tmp_path, list(QUICK))
    features, yields = plant()
    matrix = pd.DataFrame(features.values, columns=[feature.name for feature in FEATURES])
    matrix.insert(0, "id", np.arange(len(yields)).astype(str))
    write_table(tmp_path / "data/features/train.parquet", matrix)
    write_table(tmp_path / "data/split/train.parquet", pd.DataFrame({"yield": yields}))
    space(tmp_path / "conf/search", SPACE.replace("min_samples_leaf: 2,", "min_samples_leaf: 60,"))
    return tmp_path


class TestCommand:
    """`batchyield model search`."""

    def test_write(self, workspace, capsys):
        """The winner becomes a choice that composes and builds; a rerun finds it without new trials."""
        path = (workspace / "conf/search/space.yaml").relative_to(workspace)
        assert hyperparameter_search.run(path, write="found") == 0
        output = capsys.readouterr()
        assert "wrote conf/model/found.yaml; choose it by model=found" in output.out
        assert re.search(
            r"\ntrial \d is (better than the baseline beyond noise|first, but its gain is within noise)\n", output.out
        )
        assert "trial 9 of 9" in output.err
        text = (workspace / "conf/model/found.yaml").read_text()
        assert text.startswith(
            "# Written by `batchyield model search conf/search/space.yaml --write found`: the best of 9 trials, "
            "seed 3.\n"
        )
        composition.write_params(workspace, ["model=found", *QUICK])
        chosen = read_params(workspace / "params.yaml")
        values, yields = plant()
        assert build_model(chosen.model, chosen.features, chosen.target).fit(values.values, yields).members_
        assert hyperparameter_search.run(workspace / path, write="found", force=True) == 0
        assert "trial" not in capsys.readouterr().err, "the study is finished"
        again = (workspace / "conf/model/found.yaml").read_text()
        assert again == text.replace("conf/search/space.yaml", "space.yaml"), "no absolute path is written"

    def test_baseline_wins(self, workspace, capsys):
        """A search that finds nothing better says so and writes no copy of the baseline; the baseline is a choice."""
        shutil.copy(CONF / "model/extra_trees.yaml", workspace / "conf/model/start.yaml")
        path = workspace / "conf/search/named.yaml"
        path.write_text("model: start\nvalues: {min_samples_leaf: [150]}\ntrials: 1\nseed: 3\n")
        chosen = yaml.safe_load((CONF / "model/extra_trees.yaml").read_text()) | {"n_estimators": 5}
        (workspace / "conf/model/start.yaml").write_text(yaml.safe_dump(chosen))
        assert hyperparameter_search.run(path, write="copy") == 0
        output = capsys.readouterr().out
        assert "\nnothing beats the baseline\n" in output
        assert not (workspace / "conf/model/copy.yaml").exists()
        path.write_text("model: nosuch\nvalues: {min_samples_leaf: [150]}\ntrials: 1\nseed: 3\n")
        with pytest.raises(ParamsError, match=r"nosuch\.yaml"):
            load_space(path)

    def test_without_name(self, workspace, capsys):
        """Without `--write` only the study is written."""
        before = sorted(workspace.rglob("*"))
        assert hyperparameter_search.run(workspace / "conf/search/space.yaml") == 0
        [study] = [path for path in sorted(workspace.rglob("*")) if path not in before and path.is_file()]
        assert study.parent == workspace / hyperparameter_search.STUDIES
        assert "baseline" in capsys.readouterr().out

    def test_existing_choice(self, workspace, capsys):
        """An existing choice is refused before the search."""
        ridge = workspace / "conf/model/ridge.yaml"
        before = ridge.read_bytes()
        with pytest.raises(ConflictError, match=r"ridge\.yaml exists already\n.*--force"):
            hyperparameter_search.run(workspace / "conf/search/space.yaml", write="ridge")
        assert ridge.read_bytes() == before
        assert capsys.readouterr().err == ""

    def test_setup(self, workspace, monkeypatch):
        """Missing features and a wrong folder are reported with the remedy."""
        (workspace / "data/features/train.parquet").unlink()
        with pytest.raises(ConfigError, match=r"data/features/train\.parquet does not exist\n.*repro"):
            hyperparameter_search.run(workspace / "conf/search/space.yaml")
        monkeypatch.chdir(workspace / "data")
        with pytest.raises(ConfigError, match=r"conf/model does not exist"):
            hyperparameter_search.run(workspace / "conf/search/space.yaml", write="tuned")


class TestChoice:
    """A model as a file in `conf/model/`."""

    @pytest.mark.parametrize("name", ["", "../up", "Tuned", "a b", "a.yaml", "1st"])
    def test_invalid_name(self, name):
        """A name that could not be used as `model=NAME` is refused."""
        with pytest.raises(ConfigError, match="invalid name"):
            hyperparameter_search.destination(name)

    def test_existing_model(self, workspace):
        """A model that is a choice already gets no second name."""
        model = parse_params(composition.compose(workspace, ["model=line_blend"])).model
        output = hyperparameter_search.write_choice(hyperparameter_search.destination("again"), model, "anything")
        assert "conf/model/line_blend.yaml is this model already" in output
        assert not (workspace / "conf/model/again.yaml").exists()

    @pytest.mark.parametrize("model", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
    def test_every_model(self, tmp_path, model):
        """Every kind of model reads back as it was written."""
        chosen = params(f"model={model}").model
        hyperparameter_search.write_choice(
            hyperparameter_search.destination("again", folder=tmp_path), chosen, "one line\nand another"
        )
        text = (tmp_path / "again.yaml").read_text()
        assert text.startswith("# one line\n# and another\nkind: ")
        assert msgspec.convert(yaml.safe_load(text), type(chosen)) == chosen
