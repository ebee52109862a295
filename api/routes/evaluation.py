"""What the stage `evaluate` measured of the model in service: `GET /v1/model/evaluation`."""

import csv
import io
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from api.inference.service import Service
from api.openapi.responses import describe_route
from api.problems import BUSY, NO_EVALUATION, NOT_READY, RATE_LIMITED, RequestError
from batchyield.errors import ArtifactError
from batchyield.plant.table import TARGET
from batchyield.serving.artifact import MODEL, read_pinned_file
from batchyield.serving.lockfile import LockedStage, read_lock

STAGE = "evaluate"
METRICS = "data/metrics/confidence.json"
PLOT = "data/plots/{}.csv"

MAX_FILE_BYTES = 2**20
MAX_POINTS = 500

_TARGET_UNIT = TARGET.unit if TARGET.factor == 1 else ""
UNITS = {"score": TARGET.score_unit} | dict.fromkeys(("bias", "mae", "rmse", "width"), _TARGET_UNIT)
"""Metric -> unit of its numbers in the file; others are shares or pure numbers."""


class MetricEstimate(msgspec.Struct, frozen=True):
    """A metric over the test batches, with its bootstrap confidence interval."""

    name: str
    value: float
    low: float
    high: float
    unit: Annotated[str, Meta(description="unit of the numbers; empty: a fraction or a pure number")]


class PredictedPoint(msgspec.Struct, frozen=True, rename={"yield_": "yield"}):
    """A test batch and the prediction of the model alone, without bias update."""

    id: Annotated[str, Meta(description="name of the batch")]
    measured: Annotated[float, Meta(description=f"measured {TARGET.stored}")]
    yield_: Annotated[float, Meta(description=f"predicted {TARGET.stored}")]
    lower: Annotated[float, Meta(description="lower end of the prediction interval")]
    upper: Annotated[float, Meta(description="upper end of the prediction interval")]


class ResidualPoint(msgspec.Struct, frozen=True):
    """The residual of a test batch."""

    batch: Annotated[float | None, Meta(description="number at the end of the batch's id; null: it has none")]
    residual: Annotated[float, Meta(description=f"measured minus predicted {TARGET.stored}")]


class LearningPoint(msgspec.Struct, frozen=True):
    """The score after a training with fewer batches."""

    batches: Annotated[int, Meta(description="training batches")]
    score: Annotated[float, Meta(description=f"half the mean square error of the test batches{TARGET.in_score_unit}")]


_OF_FILE = "; null: its file is not on this server"


class Evaluation(msgspec.Struct, frozen=True):
    """The metrics of the model in service over the test batches, and the points of three plots, at most 500 each."""

    md5: Annotated[str, Meta(description="md5 of the model")]
    confidence: Annotated[float, Meta(description="level of the metrics' intervals, such as 0.9")]
    metrics: Annotated[tuple[MetricEstimate, ...] | None, Meta(description=f"metrics with intervals{_OF_FILE}")]
    predicted: Annotated[tuple[PredictedPoint, ...] | None, Meta(description=f"predicted against measured{_OF_FILE}")]
    residuals: Annotated[tuple[ResidualPoint, ...] | None, Meta(description=f"residuals in time order{_OF_FILE}")]
    learning: Annotated[tuple[LearningPoint, ...] | None, Meta(description=f"the learning curve{_OF_FILE}")]


class _Estimate(msgspec.Struct):
    value: float
    low: float
    high: float


Point = TypeVar("Point", bound=msgspec.Struct)


def evaluation_routes(service: Service) -> list[HTTPRouteHandler]:
    """Return the route `GET /v1/model/evaluation`."""

    @get(
        "/v1/model/evaluation",
        sync_to_thread=True,
        **describe_route(
            *("evaluation", "Model", "Show how the model was evaluated"),
            *(RATE_LIMITED, BUSY, NOT_READY, NO_EVALUATION),
            description=f"What the stage `{STAGE}` of the pipeline wrote, if `dvc.lock` pins it for the model in "
            "service. Each file is compared with its md5 in `dvc.lock`.",
            about="metrics and points of plots, as far as their files are on this server",
        ),
    )
    def evaluation() -> Evaluation:
        try:
            return read_evaluation(service.settings.lock_path, service.model.pin.md5)
        except ArtifactError as error:
            raise RequestError(NO_EVALUATION, str(error)) from None

    return [evaluation]


def read_evaluation(lock: Path, md5: str) -> Evaluation:
    """Return the evaluation of the model with this md5 from the files that dvc.lock pins.

    Raises:
        ArtifactError: dvc.lock pins no evaluation of the model, or a file is not the pinned one or cannot be read.
    """
    stage = read_lock(lock).stages.get(STAGE)
    if stage is None or not any(dep.md5 == md5 and Path(dep.path).name == MODEL for dep in stage.deps):
        problem = f"pins no evaluation of the model in service, md5 {md5}"
        raise ArtifactError(str(lock), problem, "deploy the model that dvc.lock pins, or look at the one's own commit")
    try:
        return Evaluation(
            *(md5, stage.params["params.yaml"]["evaluation"]["confidence"], _read_metrics(lock, stage)),
            _read_points(lock, stage, "predicted", PredictedPoint, ("id", "actual", "yields", "lower", "upper")),
            _read_points(lock, stage, "residuals", ResidualPoint, ("batch", "residual")),
            _read_points(lock, stage, "learning", LearningPoint, ("batches", "score")),
        )
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        problem = f"the files of its stage `{STAGE}` cannot be read by this code: {error}"
        raise ArtifactError(str(lock), problem, "use the code of the commit that wrote them") from error


def _read_metrics(lock: Path, stage: LockedStage) -> tuple[MetricEstimate, ...] | None:
    data = _read_file(lock, stage, METRICS)
    if data is None:
        return None
    estimates = msgspec.json.decode(data, type=dict[str, _Estimate])
    return tuple(MetricEstimate(name, e.value, e.low, e.high, UNITS.get(name, "")) for name, e in estimates.items())


def _read_points(
    lock: Path, stage: LockedStage, plot: str, kind: type[Point], columns: tuple[str, ...]
) -> tuple[Point, ...] | None:
    """Return the points of a plot, evenly thinned out to `MAX_POINTS`; None without its file.

    Args:
        columns: those of the CSV file, in the order of the fields of `kind`.
    """
    data = _read_file(lock, stage, PLOT.format(plot))
    if data is None:
        return None
    fields = kind.__struct_encode_fields__
    rows = [
        {field: row[column] or None for field, column in zip(fields, columns, strict=True)}
        for row in csv.DictReader(io.StringIO(data.decode()))
    ]
    return msgspec.convert(rows[:: max(1, -(-len(rows) // MAX_POINTS))], tuple[kind, ...], strict=False)  # type: ignore[valid-type]


def _read_file(lock: Path, stage: LockedStage, path: str) -> bytes | None:
    """Return the bytes of an output of the stage; None if it is not an output or there is no such file."""
    file, pins = lock.parent / path, {out.path: out.md5 for out in stage.outs}
    if path not in pins or not file.is_file():
        return None
    if (size := file.stat().st_size) > MAX_FILE_BYTES:
        raise ArtifactError(str(file), f"has {size:,} bytes, more than {MAX_FILE_BYTES:,}")
    return read_pinned_file(file, pins[path])
