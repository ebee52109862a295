"""Compressed bodies: gzip and zstd, of requests within a bound and of answers where the caller can read them."""

import gzip
import zlib
from collections.abc import Iterable

import zstandard

from api.problems import MALFORMED, TOO_LARGE, UNSUPPORTED, RequestError
from api.settings import Settings

CODINGS = ("zstd", "gzip")
"""In the order of our preference."""

ACCEPTED = ", ".join(CODINGS)
ALIASES = {"x-gzip": "gzip"}

WORTH_IT = 4096
"""Bytes; a smaller answer costs more to compress than to send."""

LEVELS = {"zstd": 1, "gzip": 1}
LEVELS_ONCE = {"zstd": 12, "gzip": 9}
"""For what is compressed once and sent often."""

WINDOW = 2**23
"""Bytes that a zstd decoder may be made to keep: the most that HTTP allows (RFC 9659)."""

PIECE = 256
"""Bytes of zstd decoded at a time: even if each block in them is a bomb, they become no more than some megabytes."""

MOST_MEMBERS = 64
"""Streams one after the other in one body: parallel compressors make a few, a body of empty ones would be all work."""

Headers = Iterable[tuple[bytes, bytes]]


def coding_of(headers: Headers) -> str:
    """How a request's body is compressed: one of `CODINGS`, or `` where it is sent as it is.

    Raises:
        RequestError: it is compressed in another way, or more than once.
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
    """The body as it was before it was compressed.

    Raises:
        RequestError: it is no such stream or ends too early (400), or would become too large (413), which is found
            without making it so.
    """
    if not coding:
        return body
    try:
        return (_of_zstd if coding == "zstd" else _of_gzip)(body, settings.max_body_bytes)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise RequestError(MALFORMED, f"the body is not whole {coding}: {error}") from None


def _of_gzip(body: bytes, limit: int) -> bytes:
    whole = b""
    for _ in range(MOST_MEMBERS):
        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        whole += stream.decompress(body, limit + 1 - len(whole))
        _bounded(len(whole), limit)
        if not stream.eof:
            raise EOFError("it ends before its end")
        body = stream.unused_data
        if not body:
            return whole
    raise EOFError(f"more than {MOST_MEMBERS} streams")


def _of_zstd(body: bytes, limit: int) -> bytes:
    whole, decoder, members = bytearray(), zstandard.ZstdDecompressor(max_window_size=WINDOW), 0
    stream = decoder.decompressobj()
    for start in range(0, len(body), PIECE):
        piece = body[start : start + PIECE]
        while piece:
            if stream.eof:
                members += 1
                if members == MOST_MEMBERS:
                    raise EOFError(f"more than {MOST_MEMBERS} streams")
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
    """The coding for an answer to who sent this `Accept-Encoding`; `` for none."""
    weights: dict[str, float] = {}
    for offer in accept_encoding.lower().split(","):
        name, _, weight = offer.partition(";")
        name = name.strip()
        weights[ALIASES.get(name, name)] = _weight(weight)
    weight_of = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in CODINGS}
    best = max(CODINGS, key=weight_of.__getitem__)
    return best if weight_of[best] > 0 else ""


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def encoded(content: bytes, coding: str, levels: dict[str, int] = LEVELS) -> bytes:
    """Compresses; equal content gives equal bytes."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=levels[coding]).compress(content)
    return gzip.compress(content, levels[coding], mtime=0)


def packed(content: bytes, request_headers: Headers) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """An answer's content as its caller wants it, and the headers that say so."""
    if len(content) < WORTH_IT:
        return content, []
    offered = b",".join([value for name, value in request_headers if name == b"accept-encoding"])
    coding = wanted(offered.decode("latin-1"))
    vary = (b"vary", b"accept-encoding")
    if not coding:
        return content, [vary]
    return encoded(content, coding), [vary, (b"content-encoding", coding.encode())]
