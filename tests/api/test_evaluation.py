"""`GET /v1/model/evaluation`: what dvc.lock pins for the model in service, and nothing else."""

import pytest
from support.deployments import B, set_desired_model, store_model, wait_applied
from support.service import EVALUATION, add_evaluation, client_of, make_checkout, refusal

from api.routes.evaluation import MAX_FILE_BYTES, MAX_POINTS, UNITS
from batchyield.modelling.card_metrics import CARD_METRICS
from batchyield.plant.table import TARGET

PATH = "/v1/model/evaluation"
METRICS, PREDICTED, RESIDUALS = "data/metrics/confidence.json", "data/plots/predicted.csv", "data/plots/residuals.csv"
PARTS = ("metrics", "predicted", "residuals", "learning")


@pytest.fixture
def root(tmp_path):
    return add_evaluation(make_checkout(tmp_path))


def ask(root):
    with client_of(root) as client:
        return client.get(PATH)


def refused(root):
    """The detail of the refusal."""
    return refusal(ask(root), 409, "no-evaluation")["detail"]


def test_present(root):
    """Metrics have their interval and the unit of the file, and plots the columns of theirs."""
    found = ask(root).json()
    assert found["confidence"] == 0.9
    metrics = {one.pop("name"): one for one in found["metrics"]}
    assert metrics["score"] == {"value": 1.8, "low": 0.85, "high": 3.0, "unit": TARGET.score_unit}
    assert metrics["coverage"] == {"value": 0.94, "low": 0.91, "high": 0.96, "unit": ""}
    first = {"id": "batch 1", "measured": 0.93, "yield": 0.92, "lower": 0.89, "upper": 0.95}
    assert (len(found["predicted"]), found["predicted"][0]) == (2, first)
    assert found["residuals"] == [{"batch": 1, "residual": 0.01}, {"batch": 2, "residual": -0.01}]
    assert found["learning"] == [{"batches": 10, "score": 2.5}, {"batches": 20, "score": 1.8}]


@pytest.mark.parametrize(("path", "part"), list(zip(EVALUATION, PARTS, strict=True)))
def test_absent_file(root, path, part):
    """What is on the server is shown without the file that is not."""
    (root / path).unlink()
    found = ask(root).json()
    assert [name for name in PARTS if found[name] is None] == [part]


def test_unpinned_file(tmp_path):
    """A file that dvc.lock does not pin is not read."""
    root = add_evaluation(make_checkout(tmp_path), {METRICS: EVALUATION[METRICS]})
    (root / PREDICTED).parent.mkdir()
    (root / PREDICTED).write_bytes(EVALUATION[PREDICTED])
    found = ask(root).json()
    assert found["metrics"]
    assert found["predicted"] is None


@pytest.mark.parametrize("path", EVALUATION)
def test_other_bytes(root, path):
    """A file with other bytes than the pinned ones is refused by name."""
    (root / path).write_bytes(EVALUATION[path].replace(b"1", b"2"))
    assert f"{path}: is not the pinned file" in refused(root)


def test_other_model(root):
    """The evaluation of the pinned model is not shown for a deployed one."""
    other = store_model(root, B)
    with client_of(root) as client:
        assert client.get(PATH).status_code == 200
        wait_applied(root, set_desired_model(root, serving=other))
        problem = refusal(client.get(PATH), 409, "no-evaluation")
    assert f"pins no evaluation of the model in service, md5 {other.md5}" in problem["detail"]


def test_never_evaluated(tmp_path):
    """A checkout whose lock has no stage `evaluate` has no evaluation."""
    assert "pins no evaluation" in refused(make_checkout(tmp_path))


@pytest.mark.parametrize(
    "changed",
    [
        {METRICS: b"[]"},
        {PREDICTED: b"id,actual\nbatch 1,0.9\n"},
        {PREDICTED: EVALUATION[PREDICTED].replace(b"0.93", b"high")},
        {PREDICTED: b"\xff"},
    ],
)
def test_other_code(tmp_path, changed):
    """Pinned files of another form are refused, not a fault of the service."""
    assert "cannot be read by this code" in refused(add_evaluation(make_checkout(tmp_path), EVALUATION | changed))


def test_size(tmp_path):
    """A file above the limit is not read."""
    large = {PREDICTED: b"id,actual,yields,lower,upper\n".ljust(MAX_FILE_BYTES + 1)}
    assert "bytes, more than" in refused(add_evaluation(make_checkout(tmp_path), large))


def test_many_points(tmp_path):
    """A plot of many batches is thinned out evenly; a batch without a number has none."""
    rows = "".join(f"{n}.0,0.01\n" for n in range(3 * MAX_POINTS)) + ",0.02\n"
    files = {RESIDUALS: f"batch,residual\n{rows}".encode()}
    residuals = ask(add_evaluation(make_checkout(tmp_path), files)).json()["residuals"]
    assert len(residuals) == 376
    assert [one["batch"] for one in residuals[:3]] == [0, 4, 8]
    assert residuals[-1] == {"batch": None, "residual": 0.02}


def test_units():
    """The metrics of the card that have a unit are those of its table, which the service cannot import."""
    assert UNITS.keys() == {metric.name for metric in CARD_METRICS if metric.unit.startswith("target")}
