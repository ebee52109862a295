"""What one writes from the tutorials: FastAPI, pydantic, a DataFrame for each request, a scikit-learn pipeline.

    BENCH_SHEET=batches.csv uvicorn usual:app

Runs in an environment of its own (requirements/bench.txt) and knows nothing of batchyield. It fits its model at the
start, on the plant's sheet; as many trees as the pinned model has, and one answer where that gives three.
"""

import os

import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

CLOCKS = ["A5", "A7", "A9", "A11", "A14", "A16", "A24", "A26", "B5", "B7"]
RANGES = ["A20", "A28", "B4", "B9", "B10", "B11"]
READINGS = [*(f"A{n}" for n in range(1, 29)), *(f"B{n}" for n in range(1, 15))]
NUMBERS = [name for name in READINGS if name not in CLOCKS + RANGES]
FEATURES = NUMBERS + CLOCKS + [f"{name}_{end}" for name in RANGES for end in ("start", "length")]

Batch = create_model(
    "Batch",
    id=(str | None, None),
    **{name: (float | None if name in NUMBERS else str | None, None) for name in READINGS},
)


class Request(BaseModel):
    """The batches."""

    inputs: list[Batch]


class Answer(BaseModel):
    """A yield for each batch."""

    predictions: list[dict[str, float | str | None]]


def minutes(cells: pd.Series) -> pd.Series:
    """`13:30:00` as minutes after midnight; missing where it is anything else."""
    parts = cells.astype("str").str.extract(r"^(\d{1,2}):(\d{2})(?::\d{2})?$").astype(float)
    return parts[0] * 60 + parts[1]


def features(frame: pd.DataFrame) -> pd.DataFrame:
    """Readings as numbers."""
    columns = {name: pd.to_numeric(frame[name], errors="coerce").astype(float) for name in NUMBERS}
    columns |= {name: minutes(frame[name]) for name in CLOCKS}
    for name in RANGES:
        ends = frame[name].astype("str").str.extract(r"^(.+)-(.+)$")
        start = minutes(ends[0])
        columns |= {f"{name}_start": start, f"{name}_length": (minutes(ends[1]) - start) % 1440}
    return pd.DataFrame(columns)


def fitted(sheet: str) -> Pipeline:
    """The pipeline, trained on the plant's sheet."""
    frame = pd.read_csv(sheet, encoding="gb18030")
    model = make_pipeline(
        FunctionTransformer(features),
        ColumnTransformer([("median", SimpleImputer(strategy="median"), FEATURES)]),
        ExtraTreesRegressor(n_estimators=30, min_samples_leaf=2, max_features=0.22, random_state=1),
    )
    return model.fit(frame[READINGS], frame["收率"])


app = FastAPI()
model = fitted(os.environ["BENCH_SHEET"])


@app.post("/v1/predictions")
def predict(request: Request) -> Answer:
    """One yield for each batch, in order."""
    frame = pd.DataFrame([batch.model_dump() for batch in request.inputs])
    yields = model.predict(frame[READINGS])
    return Answer(
        predictions=[{"id": batch.id, "yield": value} for batch, value in zip(request.inputs, yields, strict=True)]
    )
