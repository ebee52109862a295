"""Private attributes of other libraries: each is used in one file, below an upper version bound, and still exists."""

import re
import tomllib

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from sklearn.ensemble import HistGradientBoostingRegressor
from support.service import ROOT

from api.telemetry.prometheus_histogram import BulkHistogram


@pytest.mark.parametrize(
    ("names", "module", "library"),
    [
        (r"self\._(sum|buckets|upper_bounds)\b", "api/telemetry/prometheus_histogram.py", "prometheus-client"),
        (r"\._predictors\b|\._baseline_prediction\b", "src/batchyield/modelling/sklearn_trees.py", "scikit-learn"),
    ],
)
def test_private_names_are_used_in_one_module_below_an_upper_bound(names, module, library):
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("api/**/*.py")]
    assert [str(file.relative_to(ROOT)) for file in files if re.search(names, file.read_text())] == [module]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (needed,) = {
        one for extra in project["optional-dependencies"].values() for one in extra if re.match(library + r"[>\[]", one)
    }
    assert "<" in needed


def test_no_other_private_module_is_imported():
    private = re.compile(r"numpy\._core|np\._core|argparse\._")
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("api/**/*.py")]
    assert [str(file) for file in files if private.search(file.read_text())] == []


def test_a_bulk_histogram_counts_as_observe_does_with_each_value():
    values = [0.1, 0.25, 0.5, 0.75, 7.0]
    expositions = []
    for kind in (Histogram, BulkHistogram):
        registry = CollectorRegistry()
        made = kind("made", "for this test", buckets=(0.25, 0.5, 1.0), registry=registry)
        made.observe_all(values) if kind is BulkHistogram else [made.observe(value) for value in values]
        expositions.append(generate_latest(registry))
    assert expositions[0] == expositions[1]


def test_the_trees_of_scikit_learn_have_the_fields_that_are_exported():
    rows = np.arange(100.0).reshape(-1, 1)
    fitted = HistGradientBoostingRegressor(max_iter=1).fit(rows, rows[:, 0] > 50)
    ((predictor,),) = fitted._predictors
    fields = {"is_leaf", "left", "right", "missing_go_to_left", "feature_idx", "num_threshold", "value"}
    assert fields <= {*predictor.nodes.dtype.names}
    leaf = predictor.nodes["value"][predictor.nodes["is_leaf"] == 1]
    assert fitted.predict(rows[:1])[0] - fitted._baseline_prediction.item() == pytest.approx(leaf.min())
