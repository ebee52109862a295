import shutil

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from made import CONF, params, plant

from batchyield import evaluation, tune
from batchyield.choice import destination, write_choice
from batchyield.errors import ParamsError, SetupError
from batchyield.features import FEATURES
from batchyield.model import build
from batchyield.params import load, parse
from batchyield.pins import params as composition
from batchyield.space import candidates, load_space
from batchyield.table import write_table

SPACE = """
model:
  kind: line_trees
  extra_trees: {kind: extra_trees, n_estimators: 10, min_samples_leaf: 2, max_features: 0.3, seed: 1}
values:
  extra_trees.min_samples_leaf: [1, 2, 150]
  extra_trees.max_features: [0.05, 0.3]
candidates: 6
rounds: 2
factor: 2
seed: 3
"""

QUICK = ("evaluation.repeats=2", "evaluation.folds=3")


def space(tmp_path, text=SPACE):
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return load_space(path)


def settings(*overrides):
    return params(*QUICK, *overrides)


def ranking(space, lines=None):
    features, yields = plant()
    return tune.search(features.values, yields, settings(), space, (lines if lines is not None else []).append)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    lines = []
    return ranking(space(tmp_path_factory.mktemp("space")), lines), lines


def test_the_same_seed_gives_the_same_ranking(ranked, tmp_path):
    assert ranking(space(tmp_path)) == ranked[0]


def test_another_seed_tries_others(tmp_path):
    values = "extra_trees.max_features: [0.05, 0.3]"
    many = SPACE.replace(values, f"extra_trees.max_features: {[i / 100 for i in range(1, 100)]}")
    drawn = [candidates(space(tmp_path, many.replace("seed: 3", f"seed: {seed}"))) for seed in (3, 4)]
    assert drawn[0] != drawn[1]
    assert drawn[0][0] == drawn[1][0]


def test_the_winner_beats_the_worst_and_the_last_round_stands_first(ranked):
    found, _ = ranked
    assert [candidate.rows for candidate in found] == [400] * 3 + [200] * 3
    assert found[0].score < found[-1].score
    assert found[0].score < 0.8 * max(candidate.score for candidate in found)
    assert all(candidate.spread > 0 for candidate in found)
    for part in (found[:3], found[3:]):
        assert [candidate.score for candidate in part] == sorted(candidate.score for candidate in part)
    # A leaf of 150 of 200 batches is no tree at all.
    assert {dict(candidate.values).get("extra_trees.min_samples_leaf") for candidate in found[-2:]} == {150}


def test_the_start_is_tried_to_the_end_and_gains_nothing_on_itself(ranked):
    start = next(candidate for candidate in ranked[0] if candidate.number == 0)
    assert (start.rows, start.values, start.gain, start.gain_spread) == (400, (), 0, 0)
    for candidate in ranked[0][:3]:
        assert candidate.gain == pytest.approx(start.score - candidate.score, abs=3e-9)


def test_the_start_is_kept_even_where_it_is_the_worst(tmp_path):
    text = SPACE.replace("min_samples_leaf: 2,", "min_samples_leaf: 200,").replace("[1, 2, 150]", "[1, 2]")
    found = ranking(space(tmp_path, text))
    last = [candidate for candidate in found if candidate.rows == 400]
    assert last[-1].number == 0
    assert all(candidate.gain > 0 for candidate in last[:-1])


def test_the_score_is_that_of_the_cross_validation(ranked):
    features, yields = plant()
    winner = ranked[0][0]
    chosen = msgspec.structs.replace(settings("intervals=random", "intervals.folds=2"), model=winner.model)
    found = evaluation.cross_validate(features.values, yields, chosen)
    assert winner.score == pytest.approx(found.figures["score"], abs=2e-9)
    assert winner.spread == pytest.approx(found.spread, abs=2e-9)


def test_every_round_and_candidate_is_told(ranked):
    _, lines = ranked
    assert lines[0] == "round 1 of 2: 6 candidates on 200 batches"
    assert lines[7] == "round 2 of 2: 3 candidates on 400 batches"
    assert len(lines) == 2 + 6 + 3
    assert lines[1].startswith("  1 of 6: ")
    assert lines[1].endswith("e-4 with no change")
    assert "extra_trees.max_features 0." in lines[2]


def test_the_table_has_a_line_for_every_candidate_and_is_aligned(ranked):
    header, *rows = tune.table(ranked[0])
    assert header.split()[-2:] == ["extra_trees.max_features", "extra_trees.min_samples_leaf"]
    assert [row.split()[0] for row in rows] == [str(rank) for rank in range(1, 7)]
    assert {len(row) for row in rows} == {len(header)}
    assert sum("start" in row for row in rows) == 1


def test_candidates_are_all_different_and_as_many_as_there_are_combinations(tmp_path):
    found = candidates(space(tmp_path, SPACE.replace("candidates: 6", "candidates: 100")))
    models = [model for _, model in found]
    assert len(models) == 6
    assert all(a != b for i, a in enumerate(models) for b in models[:i])
    assert len(candidates(space(tmp_path, SPACE.replace("candidates: 6", "candidates: 4")))) == 4


def test_rounds_that_begin_with_too_few_batches_are_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"\$\.rounds: 4 rounds by 3 begin with 14 of 400 batches; at least 50"):
        ranking(space(tmp_path, SPACE.replace("rounds: 2", "rounds: 4").replace("factor: 2", "factor: 3")))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("factor: 2", "factor: 1", "$.factor: expected `int` >= 2"),
        ("rounds: 2", "rounds: two", "$.rounds: expected `int`, got `str`"),
        ("seed: 3", "", "$: object missing required field seed"),
        ("seed: 3", "sed: 3", "$: object contains unknown field sed"),
        ("kind: line_trees", "kind: birches", "$.model.kind: invalid value 'birches'"),
        ("n_estimators: 10", "n_estimators: 0", "$.model.extra_trees.n_estimators: expected `int` >= 1"),
        ("[1, 2, 150]", "[]", "$.values.extra_trees.min_samples_leaf: expected `array` of length >= 1"),
        ("[1, 2, 150]", "[1, many]", "$.values.extra_trees.min_samples_leaf[1]: expected `int | float`, got `str`"),
        ("[1, 2, 150]", "[1, 0]", "$.values.extra_trees.min_samples_leaf[1]: expected `int` >= 1: 0"),
        ("[0.05, 0.3]", "[0.05, 1.5]", "$.values.extra_trees.max_features[1]: expected `float` <= 1.0: 1.5"),
        ("[1, 2, 150]", "[1, 2, 1]", "$.values.extra_trees.min_samples_leaf: a value stands there twice: [1, 2, 1]"),
        (
            "extra_trees.max_features: [",
            "extra_trees.maximum: [",
            "$.values.extra_trees.maximum: the model has no such number; it has extra_trees.n_estimators, ",
        ),
        ("values:", "values: [", "is no YAML: "),
    ],
)
def test_a_wrong_space_is_named_with_its_place(tmp_path, old, new, told):
    assert old in SPACE
    with pytest.raises(ParamsError) as error:
        space(tmp_path, SPACE.replace(old, new, 1))
    assert str(error.value).startswith(f"{tmp_path / 'space.yaml'}: {told.replace('`', '')}")
    assert "correct the search space" in str(error.value)


def test_a_missing_space_is_named():
    with pytest.raises(ParamsError, match=r"(?s)nowhere\.yaml: cannot be read.*search/line_trees\.yaml"):
        load_space("nowhere.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "search").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_space_of_the_checkout_can_be_searched(path):
    loaded = load_space(path)
    assert len(candidates(loaded)) == loaded.candidates


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with conf/, params.yaml and the features of a small plant, as `dvc repro featurize` leaves them."""
    shutil.copytree(CONF, tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    composition.write(tmp_path, list(QUICK))
    features, yields = plant()
    matrix = pd.DataFrame(features.values, columns=[feature.name for feature in FEATURES])
    matrix.insert(0, "id", np.arange(len(yields)).astype(str))
    write_table(tmp_path / "data/features/train.parquet", matrix)
    write_table(tmp_path / "data/split/train.parquet", pd.DataFrame({"yield": yields}))
    (tmp_path / "search").mkdir()
    space(tmp_path / "search", SPACE.replace("min_samples_leaf: 2,", "min_samples_leaf: 60,"))
    return tmp_path


def test_the_written_winner_composes_decodes_and_builds(workspace, capsys):
    path = workspace / "search/space.yaml"
    assert tune.run(path.relative_to(workspace), write="found") == 0
    told = capsys.readouterr()
    assert "wrote conf/model/found.yaml; choose it by model=found" in told.out
    assert "round 2 of 2" in told.err

    written = (workspace / "conf/model/found.yaml").read_text()
    assert written.startswith(
        "# Written by `batchyield tune search/space.yaml --write found`: the best of 6 candidates"
    )
    assert "seed 3.\n" in written
    composition.write(workspace, ["model=found", *QUICK])
    chosen = load(workspace / "params.yaml")
    winner = ranking(load_space(path))[0]
    assert winner.number != 0
    assert chosen.model == winner.model
    values, yields = plant()
    assert build(chosen.model, chosen.features, chosen.target).fit(values.values, yields).members_
    first = written.encode()
    assert tune.run(path, write="found", force=True) == 0
    assert str(workspace) not in (workspace / "conf/model/found.yaml").read_text()
    assert (workspace / "conf/model/found.yaml").read_bytes() == first.replace(b"search/space.yaml", b"space.yaml")


def test_without_a_name_nothing_is_written(workspace, capsys):
    before = sorted(workspace.rglob("*"))
    assert tune.run(workspace / "search/space.yaml") == 0
    assert sorted(workspace.rglob("*")) == before
    assert "start" in capsys.readouterr().out


def test_an_existing_choice_is_refused_before_the_search_and_left_alone(workspace, capsys):
    ridge = workspace / "conf/model/ridge.yaml"
    before = ridge.read_bytes()
    with pytest.raises(SetupError, match=r"ridge\.yaml exists already\n.*--force"):
        tune.run(workspace / "search/space.yaml", write="ridge")
    assert ridge.read_bytes() == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["", "../up", "Tuned", "a b", "a.yaml", "1st"])
def test_a_name_that_is_none_is_refused(workspace, name):
    with pytest.raises(SetupError, match="cannot name a choice"):
        destination(name)


def test_a_model_that_is_a_choice_already_gets_no_second_name(workspace):
    model = parse(composition.compose(workspace, ["model=line_blend"])).model
    told = write_choice(destination("again"), model, "anything")
    assert "conf/model/line_blend.yaml is this model already" in told
    assert not (workspace / "conf/model/again.yaml").exists()


@pytest.mark.parametrize("model", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_every_kind_of_model_is_written_as_it_is(tmp_path, model):
    chosen = params(f"model={model}").model
    write_choice(destination("again", folder=tmp_path), chosen, "one line\nand another")
    text = (tmp_path / "again.yaml").read_text()
    assert text.startswith("# one line\n# and another\nkind: ")
    assert msgspec.convert(yaml.safe_load(text), type(chosen)) == chosen


def test_outside_a_checkout_or_before_the_features_the_remedy_is_told(workspace, tmp_path, monkeypatch):
    (workspace / "data/features/train.parquet").unlink()
    with pytest.raises(SetupError, match=r"there is no data/features/train\.parquet\n.*repro"):
        tune.run(workspace / "search/space.yaml")
    monkeypatch.chdir(workspace / "data")
    with pytest.raises(SetupError, match=r"there is no folder conf/model"):
        tune.run(workspace / "search/space.yaml", write="tuned")
