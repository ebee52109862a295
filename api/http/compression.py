"""Content codings gzip and zstd: bounded decompression of requests, compression of answers for callers that accept it.

Litestar's own compression ignores q-values and does not reach the raw routes; docs/decisions/serving-tricks.md.
"""

import gzip
import zlib
from collections.abc import Iterable

import zstandard

from api.problems import MALFORMED, TOO_LARGE, UNSUPPORTED, RequestError
from api.settings import Settings

CODINGS = ("zstd", "gzip")
"""In order of preference."""

ACCEPTED = ", ".join(CODINGS)
ALIASES = {"x-gzip": "gzip"}

MIN_COMPRESS_BYTES = 4096
"""Bytes; a smaller answer costs more to compress than to send."""

LEVELS = {"zstd": 1, "gzip": 1}
LEVELS_ONCE = {"zstd": 12, "gzip": 9}
"""For files that are compressed once and sent often."""

WINDOW = 2**23
"""Bytes: largest window of a zstd frame that HTTP allows (RFC 9659)."""

PIECE = 256
"""Bytes of zstd decoded at a time; even if each block is a bomb, they become no more than some megabytes."""

MAX_STREAMS = 64
"""Streams in one body: parallel compressors write a few; a body of empty ones would only cost time."""

Headers = Iterable[tuple[bytes, bytes]]


def request_coding(headers: Headers) -> str:
    """Return the coding of a request's body: one of `CODINGS`, or `` for none.

    Raises:
        RequestError: the coding is not one of `CODINGS`, or there are several.
    """
    sent = b",".join([value for name, value in headers if name == b"content-encoding"]).decode("latin-1")
    if not sent:
        return ""
    coding = sent.strip().lower()
    coding = ALIASES.get(coding, coding)
    if coding == "identity":
        return ""
    if coding not in CODINGS:
        detail = f"the Content-Encoding is {coding}; send the body as it is, or in one of {ACCEPTED}, once"
        raise RequestError(UNSUPPORTED, detail, headers={"accept-encoding": ACCEPTED})
    return coding


def decoded(body: bytes, coding: str, settings: Settings) -> bytes:
    """Decompress a body, never beyond `max_body_bytes`.

    Raises:
        RequestError: it is malformed or ends early (400), or would become too large (413).
    """
    if not coding:
        return body
    try:
        return (_of_zstd if coding == "zstd" else _of_gzip)(body, settings.max_body_bytes)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise RequestError(MALFORMED, f"the body is not whole {coding}: {error}") from None


def _of_gzip(body: bytes, limit: int) -> bytes:
    whole = b""
    for _ in range(MAX_STREAMS):
        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        whole += stream.decompress(body, limit + 1 - len(whole))
        _bounded(len(whole), limit)
        if not stream.eof:
            raise EOFError("it ends before its end")
        body = stream.unused_data
        if not body:
            return whole
    raise EOFError(f"more than {MAX_STREAMS} streams")


def _of_zstd(body: bytes, limit: int) -> bytes:
    whole, decoder, members = bytearray(), zstandard.ZstdDecompressor(max_window_size=WINDOW), 0
    stream = decoder.decompressobj()
    for start in range(0, len(body), PIECE):
        piece = body[start : start + PIECE]
        while piece:
            if stream.eof:
                members += 1
                if members == MAX_STREAMS:
                    raise EOFError(f"more than {MAX_STREAMS} streams")
                stream = decoder.decompressobj()
            whole += stream.decompress(piece)
            _bounded(len(whole), limit)
            piece = stream.unused_data if stream.eof else b""
    if not stream.eof:
        raise EOFError("it ends before its end")
    return bytes(whole)


def _bounded(size: int, limit: int) -> None:
    if size > limit:
        raise RequestError(TOO_LARGE, f"the body becomes larger than {limit} bytes; send fewer batches at a time")


def wanted(accept_encoding: str) -> str:
    """Return the coding that an `Accept-Encoding` prefers by its q-values, or `` for none."""
    weights: dict[str, float] = {}
    for offer in accept_encoding.lower().split(","):
        name, _, parameter = offer.partition(";")
        name, weight = name.strip(), parameter.partition("=")[2].strip() or "1"
        weights[ALIASES.get(name, name)] = float(weight) if weight.replace(".", "", 1).isdecimal() else 0.0
    weight_of = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in CODINGS}
    best = max(CODINGS, key=weight_of.__getitem__)
    return best if weight_of[best] > 0 else ""


def encoded(content: bytes, coding: str, levels: dict[str, int] = LEVELS) -> bytes:
    """Compress; equal content gives equal bytes."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=levels[coding]).compress(content)
    return gzip.compress(content, levels[coding], mtime=0)


def packed(content: bytes, request_headers: Headers) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return an answer's content in the coding that its caller prefers, and the headers that go with it."""
    if len(content) < MIN_COMPRESS_BYTES:
        return content, []
    offered = b",".join([value for name, value in request_headers if name == b"accept-encoding"])
    coding = wanted(offered.decode("latin-1"))
    vary = (b"vary", b"accept-encoding")
    if not coding:
        return content, [vary]
    return encoded(content, coding), [vary, (b"content-encoding", coding.encode())]
