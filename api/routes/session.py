"""`/v1/session`: sign in to the console with an API key, kept in a cookie that scripts cannot read."""

from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, delete, get, post, route
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import Meta

from api.middleware.authorization import SESSION_COOKIE, Keyring
from api.openapi.responses import describe_route
from api.problems import MALFORMED, UNAUTHORIZED, RequestError
from batchyield.serving.auth.api_keys import ApiKey

LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}

AnyRequest = Request[Any, Any, Any]


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to sign in with."""

    key: Annotated[str, Meta(description="the API key", min_length=1, max_length=512)]


class Session(msgspec.Struct, frozen=True):
    """The key of a request."""

    guarded: Annotated[bool, Meta(description="whether the service asks for keys")]
    name: Annotated[str | None, Meta(description="name of the key; null without a valid one")]
    scopes: Annotated[tuple[str, ...], Meta(description="what the key may do; all scopes if no keys are needed")]
    expires: Annotated[str | None, Meta(description="when the key ends; null: it does not")]


def session_routes(keyring: Keyring) -> list[HTTPRouteHandler]:
    """Return the routes of `/v1/session`; none of them needs a key."""

    def describe(key: ApiKey | None) -> Session:
        if not keyring.guarded:
            return Session(False, None, ("admin",), None)
        if key is None:
            return Session(True, None, (), None)
        return Session(True, key.name, key.scopes, key.expires.isoformat() if key.expires else None)

    @get(
        "/v1/session",
        sync_to_thread=False,
        **describe_route(
            *("session", "Session", "Name the key of this request"),
            description="Which key the request has, in a header or in the cookie of a session, and its scopes.",
            about="the key and its scopes",
            guarded=False,
        ),
    )
    def session(request: AnyRequest) -> Session:
        return describe(keyring.find(request.scope["state"]["headers"]))

    @post(
        "/v1/session",
        status_code=200,
        sync_to_thread=False,
        **describe_route(
            *("signIn", "Session", "Sign in with a key", MALFORMED, UNAUTHORIZED),
            description="Sets the key as a cookie that scripts cannot read and that no other site can send. It ends "
            "with the browser's session, and is marked Secure unless the service is called by a loopback address. "
            "A request that changes something and has only the cookie must come from a page of this service.",
            about="the key and its scopes; `Set-Cookie` has the key",
            guarded=False,
        ),
    )
    def sign_in(request: AnyRequest, data: JSONBody[SignIn]) -> Response[Session]:
        key = keyring.find({b"x-api-key": data.key.encode()})
        if keyring.guarded and key is None:
            detail = "the service does not know this key, or it has expired; check that all of it was copied"
            raise RequestError(UNAUTHORIZED, detail, headers={"www-authenticate": "Bearer"})
        return Response(describe(key), cookies=[_cookie(request, data.key)] if key else [])

    @delete(
        "/v1/session",
        status_code=200,
        sync_to_thread=False,
        **describe_route(
            *("signOut", "Session", "Sign out"),
            description="Removes the cookie of `POST /v1/session`.",
            about="no key",
            guarded=False,
        ),
    )
    def sign_out(request: AnyRequest) -> Response[Session]:
        return Response(describe(None), cookies=[_cookie(request, "", max_age=0)])

    @route("/v1/session", http_method="OPTIONS", status_code=204, sync_to_thread=False, include_in_schema=False)
    def methods() -> Response[None]:
        # Litestar's own names the methods of the first handler alone.
        return Response(None, status_code=204, headers={"allow": "DELETE, GET, HEAD, OPTIONS, POST"})

    return [methods, session, sign_in, sign_out]


def _cookie(request: AnyRequest, key: str, max_age: int | None = None) -> Cookie:
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    secure = host not in LOOPBACK_HOSTS
    return Cookie(SESSION_COOKIE, value=key, httponly=True, samesite="strict", secure=secure, max_age=max_age)
