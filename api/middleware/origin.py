"""Requests from web pages: CORS for the origins of the settings, and none from foreign pages where no key is needed."""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from api.problems import FORBIDDEN, RequestError

Headers = list[tuple[bytes, bytes]]

ANY = "*"
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (
        b"access-control-allow-headers",
        b"authorization, content-encoding, content-type, idempotency-key, x-api-key, x-request-id",
    ),
    (b"access-control-max-age", b"600"),
]
EXPOSED = (
    b"content-encoding, etag, ratelimit, ratelimit-policy, retry-after, x-cell-warnings, x-model-md5, "
    b"x-model-revision, x-model-version, x-request-id"
)
PRIVATE_SUFFIXES = ("localhost", "local", "internal", "test", "invalid", "home.arpa")
"""Ends of names that the public DNS does not resolve, so that no foreign page can have one."""


class Origins:
    """The origins, `scheme://host[:port]`, whose pages may read responses; `*` for all."""

    def __init__(self, setting: str) -> None:
        self._allowed = frozenset(
            origin.strip().rstrip("/").encode() for origin in setting.split(",") if origin.strip()
        )
        self._hosts = {str(urlsplit(origin.decode()).hostname) for origin in self._allowed}

    def response_headers(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Return the headers that let the page of a request's `Origin` read the response."""
        origin = headers.get(b"origin", b"")
        if not self._allows(origin):
            return [(b"vary", b"origin")]
        allowed = [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED)]
        return [*allowed, (b"vary", b"origin")]

    def is_preflight(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request by OPTIONS asks if an allowed page may send another one."""
        return b"access-control-request-method" in headers and self._allows(headers.get(b"origin", b""))

    def check_page(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse what a foreign page can make a browser send to a service without keys.

        A page sends `Origin` with each POST. By DNS rebinding it may also reach this service under a name of its own.

        Raises:
            RequestError: the page is foreign.
        """
        host, origin = headers.get(b"host", b""), headers.get(b"origin")
        if not (_is_private(host) or _name_of(host) in self._hosts):
            detail = f"the service has no keys, so it answers no requests for the public name {_name_of(host)}"
        elif origin is not None and not self._allows(origin) and not is_from_own_page(headers):
            detail = f"the page {origin.decode('latin-1')} may not use this service"
        else:
            return
        raise RequestError(FORBIDDEN, f"{detail}; its operator sets BATCHYIELD_CORS_ORIGINS or creates keys")

    def _allows(self, origin: bytes) -> bool:
        return origin in self._allowed or (bool(origin) and ANY.encode() in self._allowed)


def is_from_own_page(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a browser sent a request from a page of this service.

    Browsers name the origin of each request that may change something. A proxy may change the host, but not
    `Sec-Fetch-Site`, which browsers send over TLS and to loopback addresses.
    """
    if site := headers.get(b"sec-fetch-site"):
        return site == b"same-origin"
    return headers.get(b"origin", b"").partition(b"://")[2] == headers.get(b"host", b"")


def _name_of(host: bytes) -> str:
    """Return the name in a `Host` header, without its port and brackets."""
    text = host.decode("latin-1").lower()
    name = text[: text.find("]") + 1] if text.startswith("[") else text.partition(":")[0]
    return name.strip("[].")


@lru_cache(256)
def _is_private(host: bytes) -> bool:
    """Return whether no foreign page can have this host: an address, one word, or a name of private networks."""
    name = _name_of(host)
    if "." not in name or name.endswith(tuple(f".{suffix}" for suffix in PRIVATE_SUFFIXES)):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
