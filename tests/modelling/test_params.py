"""Parameters and the choices of conf/."""

import re
import shutil

import msgspec
import pytest
from support.batches import CONF, composed

from batchyield.errors import ConflictError, ParamsError
from batchyield.modelling import params
from batchyield.modelling.params import Params, parse_params, read_params
from batchyield.versioning.hydra_params import compose

CHOICES = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name != "search")
"""Choices of params.yaml; the search spaces beside them are not part of it."""


class TestConf:
    def test_groups(self):
        """Every group of parameters has a folder of choices."""
        assert {group for group, _ in CHOICES} == {field.name for field in msgspec.structs.fields(Params)}

    @pytest.mark.parametrize(("group", "choice"), CHOICES)
    def test_choice(self, group, choice):
        """Every choice composes into valid parameters."""
        params = parse_params(composed(f"{group}={choice}"))
        assert msgspec.structs.replace(params, **{group: None}) == msgspec.structs.replace(
            parse_params(composed()), **{group: None}
        )

    @pytest.mark.parametrize("group", sorted({group for group, _ in CHOICES}))
    def test_distinct_choices(self, group):
        """No two choices of a group are equal."""
        made = [getattr(parse_params(composed(f"{group}={choice}")), group) for g, choice in CHOICES if g == group]
        assert all(a != b for i, a in enumerate(made) for b in made[:i])

    @pytest.mark.parametrize(
        "text", ["level: 0.9: 1\n", "<<<<<<< HEAD\nlevel: 0.9\n=======\nlevel: 0.8\n>>>>>>> other\n"]
    )
    @pytest.mark.parametrize("overrides", [(), ("model=mean",)])
    def test_not_yaml(self, tmp_path, text, overrides):
        """A file of conf/ that is not YAML, as after a merge with conflicts, is named with its line."""
        shutil.copytree(CONF, tmp_path / "conf")
        chosen = tmp_path / "conf/intervals/periods.yaml"
        chosen.write_text(text)
        with pytest.raises(ParamsError, match=rf"(?s)^conf/: .*{chosen.name}.*, line \d.*edit conf/"):
            compose(tmp_path, overrides)


class TestParams:
    def test_conflict(self):
        """Params with git's conflict markers have the command that solves them."""
        text = composed()
        with pytest.raises(ConflictError, match="batchyield review resolve"):
            parse_params(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")

    def test_frozen(self):
        """Parameters are frozen."""
        with pytest.raises(AttributeError):
            parse_params(composed()).split = None

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (r"n_estimators: \d+", "n_estimators: many", '$.model.extra_trees.n_estimators: expected int, got "many"'),
            (r"n_estimators: \d+", "n_estimators: 0", "$.model.extra_trees.n_estimators: expected int >= 1, got 0"),
            (r"n_estimators: \d+", "n_estimators: null", "$.model.extra_trees.n_estimators: expected int, got null"),
            ("kind: random", "kind: sideways", "$.split.kind: invalid value 'sideways'; known kinds: random, forward"),
            ("kind: extra_trees", "kind: birches", "$.model.extra_trees.kind: invalid value 'birches'\n"),
            ("missing_limit:", "possible: {kg: [none, 1]}\n  missing_limit:", "$.validate.possible[...][0]: expected"),
            ("cut: periods", "cut: weeks", "$.intervals.cut: invalid enum value 'weeks'"),
            ("knee:", "nee:", "$.target: object contains unknown field nee"),
            (r"  outlier: [\d.]+\n", "", "$.target: knee and outlier need each other"),
            (r"highest: [\d.]+", "highest: 0.1", "$.target: lowest 0."),
            (r"groups:\n  - \w+", "groups:\n  - ratio", "$.features: 'ratio' is no group of features; known groups: "),
            (r"level: [\d.]+", "level: 1", "$.intervals.level: expected float < 1.0, got 1"),
            (r"confidence: [\d.]+", "confidence: .nan", "$.evaluation.confidence: expected float"),
            ("missing_limit:", "mostly_blank: [A99]\n  missing_limit:", "$.validate: A99: no such column or unit"),
        ],
    )
    def test_wrong_value(self, old, new, message):
        """A wrong value is an error with path and value."""
        text, found = re.subn(old, new, composed("model=line_trees", "split=random", "intervals=periods"), count=1)
        assert found
        with pytest.raises(ParamsError) as error:
            parse_params(text, "some.yaml")
        assert str(error.value).startswith(f"some.yaml: {message}")
        assert "make params" in str(error.value)

    def test_order_without_names(self, monkeypatch):
        """Without names in the file, no model may use the number in them."""
        text = composed("features=with_order")
        parse_params(text)
        monkeypatch.setattr(params, "ID_COLUMN", "")
        with pytest.raises(ParamsError, match="'order' is the number in a batch's name"):
            parse_params(text)

    def test_no_trees(self):
        """line_trees needs at least one kind of trees."""
        start = composed()
        text = start[: start.index("model:")] + "model:\n  kind: line_trees\n" + start[start.index("intervals:") :]
        with pytest.raises(ParamsError, match=r"\$\.model: expected at least one kind of trees, got none"):
            parse_params(text)

    @pytest.mark.parametrize("text", ["", "[]", "a: [", "model: 3", "\x00", "- 1"])
    def test_not_params(self, text):
        """Text that is not a set of parameters is refused."""
        with pytest.raises(ParamsError, match=r"params\.yaml"):
            parse_params(text)

    def test_file(self, tmp_path):
        """The file gives the composed parameters."""
        path = tmp_path / "params.yaml"
        path.write_text(composed(), encoding="utf-8")
        assert read_params(path) == parse_params(composed())

    def test_missing_file(self, tmp_path):
        """A missing file is an error with its path and a remedy."""
        with pytest.raises(ParamsError, match=r"(?s)nowhere\.yaml.*make params"):
            read_params(tmp_path / "nowhere.yaml")
