"""The service's log: one line per request and per event, as JSON or for a terminal."""

import atexit
import logging
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any

import msgspec

from api.settings import Settings
from api.telemetry.metrics import METHODS

# structlog imports rich where it is installed: 4 MiB and 50 ms of a start, for tracebacks that this log has not.
_without_rich = sys.modules.setdefault("rich", None) is None  # type: ignore[arg-type]
import structlog  # noqa: E402

if _without_rich:
    del sys.modules["rich"]

Event = MutableMapping[str, Any]

HIDDEN_ON_TERMINAL = ("time", "level", "pid")

FLUSH_SECONDS = 0.25
MAX_LINES = 20_000
"""Lines queued while standard output stalls, some 8 MB; further lines are dropped and counted."""

RETRY_SECONDS = 5.0
"""Pause after a failed write, in which lines are dropped without an attempt."""

PIPE_BYTES = 4096
"""PIPE_BUF: a write of at most this size is atomic, so that lines of several workers do not mix."""

MAX_MESSAGE_CHARS = 2000
EXTRA_FIELDS = ("request_id", "route")
"""Attributes of a `logging` record that become fields of its line."""


class RequestLine(msgspec.Struct, gc=False):
    """The line of a request; every field is always present.

    Attributes:
        request_id: as in the response's `X-Request-ID`.
        caller: name of the API key; empty without one.
        route: the template, or `unmatched`; never a path that a caller made up.
        status: of the response; 499: the client left before it.
        seconds: from the head of the request to the end of its response.
        bytes_in: of the body, as far as it was read.
        rows: batches predicted.
        model: md5 of the model that predicted.
        refusal: kind of the problem.
    """

    time: datetime
    level: str
    event: str
    pid: int
    request_id: str
    caller: str
    method: str
    route: str
    status: int
    seconds: float
    bytes_in: int
    bytes_out: int
    rows: int
    model: str
    refusal: str
    client_gone: bool


class LineWriter:
    """Writes lines to a file descriptor from a background thread, so that a stalled reader delays no response.

    A line that cannot be written (the reader has closed the pipe, the disk is full) is dropped, and so is each further
    one until a pause is over; then the next line is the next attempt. `on_drop` is called for each dropped line, and
    `on_resume` once lines are written again, with the number of those dropped.
    """

    def __init__(self, descriptor: int, max_lines: int = MAX_LINES) -> None:
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._descriptor, self._max_lines = descriptor, max_lines
        self._dropped_lines, self._pause_ends = 0, 0.0
        self._closing = threading.Event()
        self.on_drop: Callable[[], None] = lambda: None
        self.on_resume: Callable[[int], None] = lambda _: None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue a line, or drop it if the queue is full; it is written within a quarter of a second."""
        if self._lines.qsize() >= self._max_lines:
            self._drop(1)
        else:
            self._lines.put(line)

    def close(self, seconds: float = 2.0) -> None:
        """Write the queued lines, or give up after `seconds` if the reader stalls."""
        if not self._closing.is_set():
            self._closing.set()
            self._lines.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        """Write lines until `close`; those queued together go into one write, as far as it is atomic.

        Pause whenever no line is queued, so that the lines of a busy service collect.
        """
        line: bytes | None = None
        while True:
            if line is None:
                if self._lines.empty():
                    self._closing.wait(FLUSH_SECONDS)
                line = self._lines.get()
                if line is None:
                    return
            lines, size = [line], len(line)
            while (line := self._next()) is not None and size + len(line) <= PIPE_BYTES:
                lines.append(line)
                size += len(line)
            self._write_lines(lines)

    def _next(self) -> bytes | None:
        """Return the next line if one is queued; the end of the queue stays in it."""
        try:
            line = self._lines.get_nowait()
        except Empty:
            return None
        if line is None:
            self._lines.put(None)
        return line

    def _write_lines(self, lines: list[bytes]) -> None:
        if time.monotonic() < self._pause_ends or not self._write(b"".join(lines)):
            self._drop(len(lines))
        elif self._dropped_lines:
            dropped, self._dropped_lines = self._dropped_lines, 0
            self.on_resume(dropped)

    def _write(self, data: bytes) -> bool:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [], FLUSH_SECONDS)
            except OSError:
                self._pause_ends = time.monotonic() + RETRY_SECONDS
                return False
        return True

    def _drop(self, lines: int) -> None:
        self._dropped_lines += lines
        for _ in range(lines):
            self.on_drop()


class ServiceLog:
    """The log of one process.

    Of a request only its id gets into the log, whose form is checked: no path, query, header or body, and of an error
    the traceback but not the message, which may quote a cell. `form` is `json` or `console`; with `access`, each
    request gets a line.
    """

    def __init__(self, writer: LineWriter, form: str, access: bool) -> None:
        self.access = access
        self._writer = writer
        self.logger = structlog.wrap_logger(
            SimpleNamespace(**dict.fromkeys(("info", "warning", "error", "critical"), writer.put)),
            processors=[_as_json if form == "json" else _for_terminal],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=True,
        ).bind()
        self._put = writer.put if form == "json" else None
        self._pid = os.getpid()

    def request(
        self, scope: Any, request_id: str, route: str, status: int, seconds: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Log a request that has ended."""
        state, method = scope["state"], scope["method"]
        result = state.get("result")
        line = RequestLine(
            datetime.now(UTC), "info", "request", self._pid, request_id, state.get("caller", ""),
            method if method in METHODS else "other", route, status, round(seconds, 6), bytes_in, bytes_out,
            0 if result is None else result.rows, "" if result is None else result.model.pin.md5,
            state.get("refusal", ""), status == 499,
        )  # fmt: skip
        if self._put is not None:
            self._put(_encode(line) + b"\n")  # without structlog, which would take 4 µs more
        else:
            fields = msgspec.structs.asdict(line)
            self.logger.info(**{name: fields[name] for name in fields if name not in HIDDEN_ON_TERMINAL})

    def event(self, name: str, message: str, **fields: Any) -> None:
        """Log an event."""
        self.logger.info(name, message=message, **fields)

    def count_dropped(self, count: Callable[[], None]) -> None:
        """Call `count` for each dropped line, and log their number once lines are written again."""

        def on_resume(dropped: int) -> None:
            message = f"{dropped} log lines were dropped because standard output was not read"
            self.logger.warning("log-lines-dropped", message=message)

        self._writer.on_drop, self._writer.on_resume = count, on_resume

    def close(self) -> None:
        """Write the queued lines."""
        self._writer.close()


def open_log(settings: Settings) -> ServiceLog:
    """Open the log of this process on standard output; warnings of libraries go there too."""
    form = settings.log_format or ("console" if sys.stdout.isatty() else "json")
    sys.stdout.flush()
    log = ServiceLog(LineWriter(sys.stdout.fileno()), form, settings.access_log)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Records)]:
        root.removeHandler(handler)
    root.addHandler(_Records(log))
    logging.getLogger("batchyield").setLevel(logging.INFO)  # of libraries, warnings only
    logging.captureWarnings(True)
    atexit.register(log.close)
    return log


class _Records(logging.Handler):
    """Handler that passes records of the standard library's `logging` to the same log."""

    def __init__(self, log: ServiceLog) -> None:
        super().__init__()
        self._logger = log.logger

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name in EXTRA_FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info and (error := record.exc_info[1]):
            fields |= {"error": type(error).__name__, "trace": "".join(_frames(error))}
        message = record.getMessage().strip()[:MAX_MESSAGE_CHARS]
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        self._logger.log(level, "error" if "error" in fields else "log", logger=record.name, message=message, **fields)


def _frames(error: BaseException) -> Iterator[str]:
    """Yield the traceback of an error, cause first, without its message, which may quote a cell."""
    if before := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        yield from _frames(before)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"
    yield from traceback.format_tb(error.__traceback__)


_encode = msgspec.json.Encoder().encode
_render = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), pad_event_to=0, sort_keys=False)


def _as_json(_: Any, level: str, event: Event) -> bytes:
    head = {"time": datetime.now(UTC), "level": level, "event": event.pop("event"), "pid": os.getpid()}
    return _encode({**head, **event}) + b"\n"


def _for_terminal(logger: Any, level: str, event: Event) -> bytes:
    """Render time, event, and the fields that are not empty."""
    shown = {name: value for name, value in event.items() if value not in ("", 0, False)}
    trace = shown.pop("trace", "")
    head = {"timestamp": f"{datetime.now():%H:%M:%S}", "level": level}
    shown["event"] = shown.pop("message", None) or shown["event"]
    return f"{_render(logger, level, head | shown)}\n{trace}".encode()
