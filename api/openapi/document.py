"""The OpenAPI 3.1 document, which Litestar generates from the typed handlers."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Litestar, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Server, Tag
from litestar.params import Body, HeaderParameter, JSONBody, QueryParameter

from api.http.decoding import PredictionRequest
from api.monitoring.routes import Monitoring
from api.openapi.responses import COMPONENTS, COMPRESSION_HEADERS, describe_route
from api.problems import (
    BODY_KINDS,
    BUSY,
    CONFLICT,
    INVALID,
    JOURNAL_AWAY,
    JOURNAL_OFF,
    MALFORMED,
    NOT_READY,
    RATE_LIMITED,
    TOO_LARGE,
    TOO_SLOW,
    UNSUPPORTED,
)
from api.routes.admin import RolledBack, ServedBefore
from api.routes.evaluation import Evaluation
from api.routes.idempotency import PATTERN
from api.routes.operations import KnownModels
from api.routes.outcomes import OutcomeRequest
from api.routes.predictions import EXPLAIN
from api.routes.records import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    OutcomeCursor,
    OutcomePage,
    PredictionCursor,
    PredictionPage,
    Readings,
    SinceTime,
    UntilTime,
)
from api.routes.session import Session, SignIn
from api.routes.workbooks import XLSX
from batchyield.plant.csv_reader import ENCODING_CHOICE
from batchyield.plant.table import READINGS, TARGET
from batchyield.serving.chunking import MAX_BATCHES, MAX_EXPLAINED_BATCHES
from batchyield.serving.outcomes import OutcomesKept, OutcomeWithdrawn
from batchyield.serving.responses import ExplainedPredictions, Health, Model, Predictions, Problem

API_VERSION = "1.0.0"

DESCRIPTION = f"""Predicts the {TARGET.word} of batches from the {len(READINGS)} readings that the plant writes.

Every response carries the pin of the model: the md5 of its bytes as in `dvc.lock`, and the commit. A batch with bad
cells is not refused: cells that can be repaired are repaired, the others are taken as missing, and each is listed in
`warnings`. One request may hold up to {MAX_BATCHES:,} batches.

Request bodies may use gzip or zstd (`Content-Encoding`). Large responses are compressed if the client sends
`Accept-Encoding`. A request may have an `X-Request-ID`, which its response repeats.

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details. If the service has API keys, send one as
`Authorization: Bearer KEY` or `X-API-Key: KEY`."""

TAGS = [
    Tag("Predictions", f"Batches in, {TARGET.words} with intervals out."),
    Tag("Outcomes", f"Measured {TARGET.words} in, joined to the predictions."),
    Tag("Model", "The model in service, down to its bytes."),
    Tag("Sheets", "Excel workbooks to CSV, and back."),
    Tag("Session", "The key of the console."),
    Tag("Operation", "For orchestrators and Prometheus."),
    Tag("Pages", "For people, and for programs that read this document."),
]

SHEET_KINDS = (MALFORMED, TOO_SLOW, TOO_LARGE, UNSUPPORTED, INVALID, RATE_LIMITED, BUSY)
LIST_KINDS = (INVALID, RATE_LIMITED, BUSY, JOURNAL_OFF, JOURNAL_AWAY)

BatchPrefix = Annotated[str, QueryParameter(max_length=128, description="only batches whose id begins so")]
RequestKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        required=False,
        pattern=f"^{PATTERN}$",
        description="a value of your own for this request, such as a UUID: if the request is repeated, it gets the "
        "first response again and is journalled once; with other batches it is refused",
    ),
]
PageLimit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="size of a page")]

TYPES = (
    *(PredictionRequest, Predictions, ExplainedPredictions, OutcomeRequest, OutcomesKept, OutcomeWithdrawn),
    *(Model, KnownModels, Evaluation, Monitoring, Health, Problem),
    *(PredictionPage, OutcomePage, Readings, Session, SignIn, ServedBefore, RolledBack),
)


@post(
    "/v1/predictions",
    status_code=200,
    **describe_route(
        *("predict", "Predictions", "Predict batches", *BODY_KINDS, CONFLICT, NOT_READY),
        description="One prediction for each input, in order. Every reading may be null or absent; an unknown field or "
        "a wrong type is refused with its index and its name.",
        about=f"the predictions; with `{EXPLAIN}=true`, each with its explanation",
        headers=COMPRESSION_HEADERS,
    ),
)
async def predict(
    data: JSONBody[PredictionRequest],
    idempotency_key: RequestKey,
    explain: Annotated[
        bool,
        QueryParameter(
            description="whether to explain, by Shapley values, how each prediction differs from a typical one; for at "
            f"most {MAX_EXPLAINED_BATCHES} batches at a time"
        ),
    ] = False,
    bias: Annotated[
        Literal["on", "off"],
        QueryParameter(
            description="whether outcomes of earlier batches correct the predictions; `off` for the model alone"
        ),
    ] = "on",
    record: Annotated[
        bool,
        QueryParameter(
            description="whether the prediction is journalled and counts for drift and live error; `false` to try "
            "values out"
        ),
    ] = True,
) -> ExplainedPredictions | Predictions:
    """Describe the raw route of the same path; never served."""
    raise NotImplementedError


@get(
    "/v1/predictions",
    **describe_route(
        *("listPredictions", "Predictions", "List journalled predictions", *LIST_KINDS),
        description="Requests with their predictions, and the outcome where one is known; the newest first.",
        about="a page of predictions",
        headers=COMPRESSION_HEADERS,
    ),
)
async def list_predictions(
    since: SinceTime,
    until: UntilTime,
    before: PredictionCursor,
    id: BatchPrefix = "",  # noqa: A002
    limit: PageLimit = DEFAULT_LIMIT,
) -> PredictionPage:
    """Describe the raw route of the same path; never served."""
    raise NotImplementedError


@post(
    "/v1/predictions/csv",
    status_code=200,
    **describe_route(
        *("predictSheet", "Predictions", "Predict the plant's CSV", *BODY_KINDS, NOT_READY),
        description=f"The file as the plant writes it, {ENCODING_CHOICE}, with or without the {TARGET.word} column "
        "and the columns `sequence` and `started_at`; as the body itself or as the only file of a form. The response "
        "is `id,yield,lower,upper`, a line for each batch in the file's order; with `Accept: application/json`, that of"
        " `/v1/predictions`, warnings included.",
        about="the predictions, as `text/csv` unless JSON is preferred",
        headers=("X-Model-Version", "X-Model-Revision", "X-Model-Md5", "X-Cell-Warnings", *COMPRESSION_HEADERS),
    ),
)
async def predict_sheet(
    data: Annotated[str, Body(media_type="text/csv", min_length=1, schema_extra={"format": "plant-sheet"})],
    idempotency_key: RequestKey,
    bias: Annotated[
        Literal["on", "off"],
        QueryParameter(
            description="whether outcomes of earlier batches correct the predictions; `off` for the model alone"
        ),
    ] = "on",
) -> Predictions:
    """Describe the raw route of the same path; never served."""
    raise NotImplementedError


@post(
    "/v1/outcomes",
    status_code=200,
    **describe_route(
        *("tellOutcomes", "Outcomes", "Record outcomes", *BODY_KINDS, JOURNAL_OFF),
        description=f"Measured {TARGET.words}, joined to the predictions by the batch's id. Sending the same again "
        "changes nothing; another value corrects the earlier one. The outcome of a batch that was never predicted is "
        "kept for a later prediction.",
        about="the result of each, in order",
    ),
)
async def tell_outcomes(data: JSONBody[OutcomeRequest]) -> OutcomesKept:
    """Describe the raw route of the same path; never served."""
    raise NotImplementedError


@get(
    "/v1/outcomes",
    **describe_route(
        *("listOutcomes", "Outcomes", "List outcomes", *LIST_KINDS),
        description=f"Measured {TARGET.words}, those reported last first.",
        about="a page of outcomes",
        headers=COMPRESSION_HEADERS,
    ),
)
async def list_outcomes(
    before: OutcomeCursor,
    id: BatchPrefix = "",  # noqa: A002
    limit: PageLimit = DEFAULT_LIMIT,
) -> OutcomePage:
    """Describe the raw route of the same path; never served."""
    raise NotImplementedError


_BINARY = {"format": "binary"}


@post(
    "/v1/sheets/csv",
    status_code=200,
    media_type="text/csv",
    **describe_route(
        *("workbookToCsv", "Sheets", "Convert a workbook to CSV", *SHEET_KINDS),
        description="The first sheet of an .xlsx workbook; nothing is predicted or stored.",
        about="the sheet in UTF-8",
    ),
)
async def workbook_to_csv(data: Annotated[str, Body(media_type=XLSX.decode(), schema_extra=_BINARY)]) -> str:
    """Describe the raw route of the same path; never served."""
    raise NotImplementedError


@post(
    "/v1/sheets/xlsx",
    status_code=200,
    media_type=XLSX.decode(),
    **describe_route(
        *("csvToWorkbook", "Sheets", "Convert CSV to a workbook", *SHEET_KINDS),
        description="CSV in UTF-8; numbers become numbers, and no text becomes a formula.",
        about="an .xlsx workbook",
    ),
)
async def csv_to_workbook(data: Annotated[str, Body(media_type="text/csv")]) -> bytes:
    """Describe the raw route of the same path; never served."""
    raise NotImplementedError


RAW_TWINS = (predict, list_predictions, predict_sheet, tell_outcomes, list_outcomes, workbook_to_csv, csv_to_workbook)


def build_document(handlers: Iterable[HTTPRouteHandler], server: str) -> bytes:
    """Return the OpenAPI document of the raw routes and of `handlers`, as JSON.

    `server` is relative to the document's own URL, so that it is right behind a proxy, too.

    A separate application generates it, because a raw route and its typed twin cannot share a path in one.
    """
    config = OpenAPIConfig(
        *("batchyield", API_VERSION),
        description=DESCRIPTION,
        tags=TAGS,
        servers=[Server(server)],
        components=COMPONENTS,
        path="/unserved",  # of Litestar's own pages
        render_plugins=[JsonRenderPlugin()],
    )
    app = Litestar([*RAW_TWINS, *handlers], openapi_config=config, logging_config=None)
    document = app.openapi_schema.to_schema()
    # Litestar names the same schemas, but drops the bounds of optional fields and `forbid_unknown_fields`.
    _, schemas = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    document["components"]["schemas"] = {name: _readable(schema) for name, schema in schemas.items()}
    return msgspec.json.encode(document)


def _readable(schema: Any) -> Any:
    """Return the schema without defaults of null, `anyOf` of a type and null as one type, and docstrings shortened."""
    if isinstance(schema, list):
        return [_readable(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _readable(value) for name, value in schema.items()}
    match schema.get("anyOf"):
        case [{"type": str(kind), **bounds}, {"type": "null"}]:
            del schema["anyOf"]
            schema = {"type": [kind, "null"], **bounds, **schema}
    if schema.get("default", ...) is None:
        del schema["default"]  # generators of clients would otherwise take the field for one that is always there
    if isinstance(schema.get("description"), str):
        schema["description"] = " ".join(schema["description"].partition("\n\n")[0].split())
    return schema
