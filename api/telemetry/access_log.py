"""The service's log: one JSON line, or one line for a terminal, for each request and each event."""

import atexit
import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime
from logging.handlers import QueueListener
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
import structlog

from api.settings import Settings
from api.telemetry.metrics import METHODS

Event = MutableMapping[str, Any]

OF_ALL = ("time", "level", "pid")
"""Fields of every line, left out on a terminal."""

FLUSH_SECONDS = 0.25
MOST_LINES = 20_000
"""Lines held while nobody reads, some 8 MB; further ones are dropped and counted."""

PIPE_BYTES = 4096
"""PIPE_BUF: a write of at most this size is atomic, so that lines of several workers do not mix."""

LONGEST_MESSAGE = 2000
OF_RECORDS = ("request_id", "route")
"""Extra attributes of a `logging` record that are logged."""


class RequestLine(msgspec.Struct, gc=False):
    """The line of a request; every field is always there.

    Attributes:
        request_id: the one in the answer's `X-Request-ID`.
        caller: name of the key; empty where none was needed.
        route: the template, or `unmatched`; never a path that a caller made up.
        status: of the answer; 499: the client left before there was one.
        seconds: from the head of the request to the end of its answer.
        bytes_in: of the body, as far as it was read.
        rows: batches answered.
        model: md5 of the model that answered.
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


class LineWriter(QueueListener):
    """Writes lines to a file descriptor from a thread of its own, so that a stalled reader delays no answer.

    The queue takes finished lines instead of log records: to make a record of each request costs more than to write it.

    Args:
        descriptor: where the lines go.
        most_lines: length of the queue; further lines are dropped.

    Attributes:
        dropped: called for each line that is dropped.
        resumed: called with the number of dropped lines once lines are written again.
    """

    def __init__(self, descriptor: int, most_lines: int = MOST_LINES) -> None:
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        super().__init__(self._lines)
        self._descriptor, self._most = descriptor, most_lines
        self._missed, self._reader_gone = 0, False
        self._closing, self._ended = threading.Event(), threading.Event()
        self.dropped: Callable[[], None] = lambda: None
        self.resumed: Callable[[int], None] = lambda _: None
        self.start()

    def put(self, line: bytes) -> None:
        """Queue a line, which is written within a quarter of a second, or drop it."""
        if self._reader_gone or self._lines.qsize() >= self._most:
            self._drop(1)
        else:
            self._lines.put(line)

    def close(self, seconds: float = 2.0) -> None:
        """Write the queued lines, or give up after `seconds` if the reader stalls."""
        if not self._closing.is_set():
            self._closing.set()
            self.enqueue_sentinel()
        self._ended.wait(seconds)

    def dequeue(self, block: bool) -> Any:
        """Return the next line, after a pause in which others gather."""
        line = self._lines.get(block)
        if line is None:
            self._ended.set()
        elif self._lines.empty():
            self._closing.wait(FLUSH_SECONDS)
        return line

    def handle(self, record: Any) -> None:
        """Write a line together with those queued behind it, as far as they fit into an atomic write."""
        lines, size = [record], len(record)
        while size < PIPE_BYTES and (line := self._next()) is not None:
            lines.append(line)
            size += len(line)
        pieces = [lines] if size <= PIPE_BYTES else [lines[:-1], lines[-1:]]
        for piece in pieces:
            if not self._write(b"".join(piece)):
                self._drop(len(piece))
            elif self._missed:
                missed, self._missed = self._missed, 0
                self.resumed(missed)

    def _next(self) -> bytes | None:
        try:
            line = self._lines.get_nowait()
        except Empty:
            return None
        if line is None:
            self.enqueue_sentinel()  # for the listener, which ends by it
        return line

    def _write(self, data: bytes) -> bool:
        while data and not self._reader_gone:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [], FLUSH_SECONDS)
            except OSError:  # EPIPE: nobody will ever read
                self._reader_gone = True
        return not data

    def _drop(self, lines: int) -> None:
        self._missed += lines
        for _ in range(lines):
            self.dropped()


class Log:
    """The log of one process.

    Nothing that a caller made up gets in but the request's id, whose form is checked: no path, no query, no header, no
    body, and of an error the trace but not the message, which may quote a cell.
    """

    def __init__(self, writer: LineWriter, form: str, access: bool) -> None:
        """Open the log.

        Args:
            writer: where the lines go.
            form: `json` or `console`.
            access: whether each request is a line.
        """
        self.access = access
        self._writer = writer
        self.logger = structlog.wrap_logger(
            _Lines(writer),
            processors=[_as_json if form == "json" else _Console()],
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
        answered = state.get("answered")
        line = RequestLine(
            datetime.now(UTC),
            "info",
            "request",
            self._pid,
            request_id,
            state.get("caller", ""),
            method if method in METHODS else "other",
            route,
            status,
            round(seconds, 6),
            bytes_in,
            bytes_out,
            0 if answered is None else len(answered.batches),
            "" if answered is None else answered.serving.pin.md5,
            state.get("refusal", ""),
            status == 499,
        )
        if self._put is not None:
            self._put(_encode(line) + b"\n")  # past structlog, which would take 4 µs more
        else:
            self.logger.info(
                **{name: value for name, value in msgspec.structs.asdict(line).items() if name not in OF_ALL}
            )

    def say(self, event: str, message: str, **facts: Any) -> None:
        """Log an event."""
        self.logger.info(event, message=message, **facts)

    def count_dropped(self, count: Callable[[], None]) -> None:
        """Call `count` for each line that is dropped, and log their number once lines are written again."""

        def resumed(lost: int) -> None:
            self.logger.warning("log-lines-dropped", message=f"{lost} lines of the log were lost: nobody read them")

        self._writer.dropped, self._writer.resumed = count, resumed

    def close(self) -> None:
        """Write the lines that are queued."""
        self._writer.close()


def open_log(settings: Settings) -> Log:
    """Open the log of this process on standard output; warnings of libraries go there too."""
    form = settings.log_format or ("console" if sys.stdout.isatty() else "json")
    sys.stdout.flush()
    log = Log(LineWriter(sys.stdout.fileno()), form, settings.access_log)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Records)]:
        root.removeHandler(handler)
    root.addHandler(_Records(log))
    logging.captureWarnings(True)
    atexit.register(log.close)
    return log


class _Lines:
    """The logger that structlog calls with rendered lines."""

    def __init__(self, writer: LineWriter) -> None:
        self.info = self.warning = self.error = self.critical = writer.put


class _Records(logging.Handler):
    """Handler that passes records of the standard library's `logging` to the same log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._logger = log.logger

    def emit(self, record: logging.LogRecord) -> None:
        facts = {name: value for name in OF_RECORDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info and (error := record.exc_info[1]):
            facts |= {"error": type(error).__name__, "trace": "".join(_frames(error))}
        message = record.getMessage().strip()[:LONGEST_MESSAGE]
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        self._logger.log(level, "error" if "error" in facts else "log", logger=record.name, message=message, **facts)


def _frames(error: BaseException) -> Iterator[str]:
    """Yield the traceback of an error, cause first, without its message, which may quote a cell."""
    if before := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        yield from _frames(before)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"
    yield from traceback.format_tb(error.__traceback__)


_encode = msgspec.json.Encoder().encode


def _as_json(_: Any, level: str, event: Event) -> bytes:
    first = {"time": datetime.now(UTC), "level": level, "event": event.pop("event"), "pid": os.getpid()}
    return _encode({**first, **event}) + b"\n"


class _Console:
    """Renderer for a terminal: time, event, and the fields that are not empty."""

    def __init__(self) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), pad_event_to=0, sort_keys=False)

    def __call__(self, logger: Any, level: str, event: Event) -> bytes:
        shown = {name: value for name, value in event.items() if value not in ("", 0, False)}
        trace = shown.pop("trace", "")
        said = {"timestamp": f"{datetime.now():%H:%M:%S}", "level": level}
        shown["event"] = shown.pop("message", None) or shown["event"]
        return f"{self._render(logger, level, said | shown)}\n{trace}".encode()
