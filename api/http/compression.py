"""Content codings gzip and zstd: bounded decompression of requests, compression of responses on request.

Litestar's own compression ignores q-values and does not reach the raw routes; see docs/decisions/serving-tricks.md.
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
"""A smaller response costs more to compress than to send."""

LEVELS = {"zstd": 1, "gzip": 1}
STATIC_LEVELS = {"zstd": 12, "gzip": 9}
"""For files that are compressed once and sent often."""

MAX_WINDOW_BYTES = 2**23
"""Largest window of a zstd frame that HTTP allows (RFC 9659)."""

CHUNK_BYTES = 256
"""Of zstd decompressed at a time: even if each block is a decompression bomb, a chunk yields only some megabytes."""

MAX_STREAMS = 64
"""Streams in one body: parallel compressors write a few; a body of empty ones would only waste time."""

Headers = Iterable[tuple[bytes, bytes]]


def request_coding(headers: Headers) -> str:
    """Return the coding of a request's body: one of `CODINGS`, or an empty string for none.

    Raises:
        RequestError: the coding is not one of `CODINGS`, or there are several.
    """
    header = b",".join([value for name, value in headers if name == b"content-encoding"]).decode("latin-1")
    coding = header.strip().lower()
    coding = ALIASES.get(coding, coding)
    if coding in ("", "identity"):
        return ""
    if coding not in CODINGS:
        detail = f"the Content-Encoding is {coding}; send the body as it is, or in one of {ACCEPTED}, once"
        raise RequestError(UNSUPPORTED, detail, headers={"accept-encoding": ACCEPTED})
    return coding


def decompress(body: bytes, coding: str, settings: Settings) -> bytes:
    """Return the decompressed body, never more than `max_body_bytes`.

    Raises:
        RequestError: it is malformed or ends early (400), or becomes too large (413).
    """
    if not coding:
        return body
    try:
        return (_decompress_zstd if coding == "zstd" else _decompress_gzip)(body, settings.max_body_bytes)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise RequestError(MALFORMED, f"the body is not complete {coding}: {error}") from None


def _decompress_gzip(body: bytes, limit: int) -> bytes:
    output = b""
    for _ in range(MAX_STREAMS):
        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        output += stream.decompress(body, limit + 1 - len(output))
        _check_size(len(output), limit)
        if not stream.eof:
            raise EOFError("it is cut off")
        body = stream.unused_data
        if not body:
            return output
    raise EOFError(f"more than {MAX_STREAMS} streams")


def _decompress_zstd(body: bytes, limit: int) -> bytes:
    output, decoder, streams = bytearray(), zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES), 0
    stream = decoder.decompressobj()
    for start in range(0, len(body), CHUNK_BYTES):
        chunk = body[start : start + CHUNK_BYTES]
        while chunk:
            if stream.eof:
                streams += 1
                if streams == MAX_STREAMS:
                    raise EOFError(f"more than {MAX_STREAMS} streams")
                stream = decoder.decompressobj()
            output += stream.decompress(chunk)
            _check_size(len(output), limit)
            chunk = stream.unused_data if stream.eof else b""
    if not stream.eof:
        raise EOFError("it is cut off")
    return bytes(output)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise RequestError(TOO_LARGE, f"the body becomes larger than {limit} bytes; send fewer batches at a time")


def accepted_coding(accept_encoding: str) -> str:
    """Return the coding that an `Accept-Encoding` header prefers by its q-values, or an empty string for none."""
    weights: dict[str, float] = {}
    for offer in accept_encoding.lower().split(","):
        name, _, parameter = offer.partition(";")
        name, weight = name.strip(), parameter.partition("=")[2].strip() or "1"
        weights[ALIASES.get(name, name)] = float(weight) if weight.replace(".", "", 1).isdecimal() else 0.0
    weight_of = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in CODINGS}
    best = max(CODINGS, key=weight_of.__getitem__)
    return best if weight_of[best] > 0 else ""


def compress(content: bytes, coding: str, levels: dict[str, int] = LEVELS) -> bytes:
    """Return the compressed content; equal content gives equal bytes."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=levels[coding]).compress(content)
    return gzip.compress(content, levels[coding], mtime=0)


def compress_response(content: bytes, request_headers: Headers) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return a response's content in the coding that the client prefers, and the headers for it."""
    if len(content) < MIN_COMPRESS_BYTES:
        return content, []
    accepted = b",".join([value for name, value in request_headers if name == b"accept-encoding"])
    coding = accepted_coding(accepted.decode("latin-1"))
    vary = (b"vary", b"accept-encoding")
    if not coding:
        return content, [vary]
    return compress(content, coding), [vary, (b"content-encoding", coding.encode())]
