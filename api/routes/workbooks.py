"""`POST /v1/sheets/csv` and `/v1/sheets/xlsx`: an Excel workbook as CSV, and CSV as a workbook."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable
from datetime import datetime, time, timedelta
from typing import Any

from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Send

from api.http.body import ClientGoneError, check_media_type, read_body
from api.http.compression import decompress, request_coding
from api.http.decoding import MAX_COLUMNS, MAX_LINES
from api.inference.service import Service
from api.problems import INVALID, MALFORMED, RequestError
from api.routes.raw_asgi import CSV, require_post, send_content
from batchyield.errors import Violation

XLSX = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CSV_UTF8 = b"text/csv; charset=utf-8"

MAX_UNPACKED_BYTES = 64 * 2**20
"""A workbook is a zip archive: a small one may unpack to any size."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def workbook_routes(service: Service) -> list[ASGIRouteHandler]:
    """Return the routes that convert sheets; nothing is predicted or stored."""

    async def convert(
        scope: HTTPScope, receive: Receive, send: Send, accepted: bytes, made: bytes, work: Callable[[bytes], bytes]
    ) -> None:
        require_post(scope)
        check_media_type(scope, (accepted,))
        coding = request_coding(scope["headers"])
        try:
            with service.bulk_slot(scope["state"]["request_id"]):
                body = await read_body(scope, receive, service.settings)
                content = await service.run_in_bulk_thread(lambda: work(decompress(body, coding, service.settings)))
        except ClientGoneError:
            return
        await send_content(send, content, [(b"content-type", made)])

    @asgi("/v1/sheets/csv", copy_scope=False)
    async def to_csv(scope: HTTPScope, receive: Receive, send: Send) -> None:
        await convert(scope, receive, send, XLSX, CSV_UTF8, workbook_to_csv)

    @asgi("/v1/sheets/xlsx", copy_scope=False)
    async def to_xlsx(scope: HTTPScope, receive: Receive, send: Send) -> None:
        await convert(scope, receive, send, CSV, XLSX, csv_to_workbook)

    return [to_csv, to_xlsx]


def workbook_to_csv(content: bytes) -> bytes:
    """Return the first sheet of a workbook as CSV in UTF-8, without blank rows at the end.

    Raises:
        RequestError: the content is no workbook (400), or is larger than a sheet may be (422).
    """
    from openpyxl import load_workbook  # type: ignore[import-untyped]  # here: most services never need it

    try:
        _check_size(content)
        sheet = load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0]
        rows = _read_rows(sheet.iter_rows(values_only=True))
    except RequestError:
        raise
    except Exception as error:  # openpyxl raises whatever its parser meets in a malformed file
        detail = "the body is not an .xlsx workbook; save the sheet as .xlsx or CSV and send it again"
        raise RequestError(MALFORMED, detail) from error
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def csv_to_workbook(content: bytes) -> bytes:
    """Return CSV in UTF-8 as a workbook of one sheet; numbers become numbers, and no text a formula.

    Raises:
        RequestError: the content is not UTF-8 (400), or is larger than a sheet may be (422).
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(MALFORMED, "the body is not UTF-8") from None
    from openpyxl import Workbook  # here: most services never need it

    book = Workbook(write_only=True)
    sheet = book.create_sheet("batchyield")
    for number, row in enumerate(csv.reader(io.StringIO(text))):
        if number > MAX_LINES or len(row) > MAX_COLUMNS:
            raise _too_large(f"more than {MAX_LINES} rows or {MAX_COLUMNS} columns")
        sheet.append([_parse_cell(cell) for cell in row])
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def _check_size(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
            raise _too_large(f"more than {MAX_UNPACKED_BYTES // 2**20} MiB when it is unpacked")


def _read_rows(rows: Iterable[tuple[Any, ...]]) -> list[list[str]]:
    found: list[list[str]] = []
    for number, row in enumerate(rows):
        if number > MAX_LINES or len(row) > MAX_COLUMNS:
            raise _too_large(f"more than {MAX_LINES} rows or {MAX_COLUMNS} columns")
        found.append([_format_cell(cell) for cell in row])
    while found and not any(found[-1]):
        found.pop()
    return found


def _format_cell(value: Any) -> str:
    """Return a cell as the plant's CSV writes it: no `.0` after whole numbers, clocks as `13:30:00`."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case float():
            return repr(int(value)) if value.is_integer() else repr(value)
        case time():
            return f"{value.hour}:{value:%M:%S}"
        case timedelta():  # Excel's clock of 24:00:00 and later
            minutes, seconds = divmod(int(value.total_seconds()), 60)
            return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
        case datetime() if value.time() == time():
            return f"{value:%Y-%m-%d}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)


def _parse_cell(text: str) -> float | str:
    try:
        return float(text) if text and text.isascii() and not text[0].isspace() and "_" not in text else text
    except ValueError:
        return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _too_large(problem: str) -> RequestError:
    violation = Violation("the sheet", f"has {problem}; send it in parts")
    return RequestError(INVALID, str(violation), violation)
