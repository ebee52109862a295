"""Small simulated data and composed parameters for the tests of training, created once a session."""

from functools import cache
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from batchyield.modelling.params import parse_params
from batchyield.modelling.train import train
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.features import featurize
from batchyield.plant.simulator import simulate

CONF = Path(__file__).parents[2] / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SMALL = {
    "extra_trees": ["model.n_estimators=20"],
    "gradient_boosting": ["model.n_estimators=30"],
    "hist_gradient_boosting": ["model.max_iter=30"],
    "line_trees": ["model.extra_trees.n_estimators=20"],
    "line_blend": ["model.extra_trees.n_estimators=20", "model.gradient_boosting.n_estimators=30"],
}
"""Overrides that keep the tests short; every kind of model keeps its form."""


@cache
def composed(*overrides):
    """The text of params.yaml that these Hydra overrides give."""
    with initialize_config_dir(str(CONF), version_base=None):
        return OmegaConf.to_yaml(compose("config", list(overrides)), resolve=True)


@cache
def params(*overrides):
    return parse_params(composed(*overrides))


def small(model, *overrides):
    """Parameters of a model cut down for speed."""
    return params(f"model={model}", *SMALL.get(model, []), "intervals.folds=2", *overrides)


@cache
def plant(rows=400, seed=7):
    """Features, warnings and yields of a simulated plant."""
    sheet = read_sheet(simulate(rows, seed).csv())
    return featurize(sheet.batches), np.array(sheet.yields)


@cache
def trained(model):
    features, yields = plant()
    return train(features.values, yields, small(model))
