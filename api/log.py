"""What the service says of itself: a JSON line for each request and each event, or the same for a person's eyes."""

import atexit
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from api.metrics import METHODS
from api.settings import Settings
from api.sink import Sink

Event = MutableMapping[str, Any]

OF_ALL = ("time", "level", "pid")
"""What each line has, and a person needs not see."""

LONGEST_MESSAGE = 2000
OF_RECORDS = ("request_id", "route")
"""What a record of `logging` may carry besides its message."""


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


class Log:
    """The log of one process.

    Nothing that a caller made up gets in but the request's id, whose form is checked: no path, no query, no header, no
    body, and of an error the trace but not the message, which may quote a cell.
    """

    def __init__(self, sink: Sink, form: str, access: bool) -> None:
        """Opens the log.

        Args:
            sink: where the lines go.
            form: `json` or `console`.
            access: whether each request is a line.
        """
        self.access = access
        self._sink = sink
        self.logger = structlog.wrap_logger(
            _Lines(sink),
            processors=[_as_json if form == "json" else _Console()],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=True,
        ).bind()
        self._put = sink.put if form == "json" else None
        self._pid = os.getpid()

    def request(
        self, scope: Any, request_id: str, route: str, status: int, seconds: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Says that a request is over."""
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
        """Says something at once."""
        self.logger.info(event, message=message, **facts)
        self._sink.hurry()

    def tell_dropped(self, count: Callable[[int], None]) -> None:
        """Has lines that nobody read in time counted, and told once there is room again."""

        def told(lost: int) -> None:
            count(lost)
            self.logger.warning("log-lines-dropped", message=f"{lost} lines of the log were lost: nobody read them")

        self._sink.dropped = told

    def close(self) -> None:
        """Writes what is left."""
        self._sink.close()


def open_log(settings: Settings) -> Log:
    """The log of this process on standard output; what libraries log goes there too."""
    form = settings.log_format or ("console" if sys.stdout.isatty() else "json")
    sys.stdout.flush()
    sink = Sink(sys.stdout.fileno())
    log = Log(sink, form, settings.access_log)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Records)]:
        root.removeHandler(handler)
    root.addHandler(_Records(log))
    logging.captureWarnings(True)
    atexit.register(log.close)
    return log


class _Lines:
    """What structlog writes to: takes rendered lines."""

    def __init__(self, sink: Sink) -> None:
        self.info = sink.put
        self._hurry = sink.hurry

    def _urgent(self, line: bytes) -> None:
        self.info(line)
        self._hurry()

    warning = error = critical = _urgent


class _Records(logging.Handler):
    """Brings what is logged by the standard library's `logging` into the same lines."""

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
    """Where an error arose, cause first; not what it says."""
    if before := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        yield from _frames(before)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"
    yield from traceback.format_tb(error.__traceback__)


_encode = msgspec.json.Encoder().encode


def _as_json(_: Any, level: str, event: Event) -> bytes:
    first = {"time": datetime.now(UTC), "level": level, "event": event.pop("event"), "pid": os.getpid()}
    return _encode({**first, **event}) + b"\n"


class _Console:
    """A line for a person: the moment, what happened, and the facts that are not empty."""

    def __init__(self) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), pad_event_to=0, sort_keys=False)

    def __call__(self, logger: Any, level: str, event: Event) -> bytes:
        shown = {name: value for name, value in event.items() if value not in ("", 0, False)}
        trace = shown.pop("trace", "")
        said = {"timestamp": f"{datetime.now():%H:%M:%S}", "level": level}
        shown["event"] = shown.pop("message", None) or shown["event"]
        return f"{self._render(logger, level, said | shown)}\n{trace}".encode()
