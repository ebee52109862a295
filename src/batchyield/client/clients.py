"""The blocking and the asynchronous client, which make the same calls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial, update_wrapper
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from batchyield.client.requests import MIN_COMPRESSED_BYTES, Endpoints, RequestFlow, Source, http_options
from batchyield.client.retry import Retry

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _call(
    call: Callable[Concatenate[Endpoints, Parameters], RequestFlow[Result]],
) -> Callable[Concatenate["Client", Parameters], Result]:
    def blocking(self: "Client", /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return self._run(call(self._calls, *args, **kwargs))

    update_wrapper(blocking, call)
    return blocking


def _async_call(
    call: Callable[Concatenate[Endpoints, Parameters], RequestFlow[Result]],
    reads_file: bool = False,
) -> Callable[Concatenate["AsyncClient", Parameters], Coroutine[Any, Any, Result]]:
    async def awaited(self: "AsyncClient", /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        flow = partial(call, self._calls, *args, **kwargs)
        return await self._run(await asyncio.to_thread(flow) if reads_file else flow())

    update_wrapper(awaited, call)
    return awaited


class Client:
    """A blocking client; safe to share between threads.

    Args:
        url: of the service; None: `BATCHYIELD_URL`, else http://127.0.0.1:8000.
        key: API key; None: `BATCHYIELD_API_KEY`, if it is set.
        timeout: seconds for each of connect, send and receive.
        retry: retry policy.
        restart_on_model_change: restart a chunked request if the model changes, instead of raising.
        compressed_from: size in bytes from which bodies are compressed; None: never.
        transport: replaces HTTP over TCP, for example `httpx.HTTPTransport(uds=...)`.

    Each call raises the exceptions of `batchyield.client.errors`.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        restart_on_model_change: bool = False,
        compressed_from: int | None = MIN_COMPRESSED_BYTES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(transport=transport, **http_options(url, key, timeout))
        self._calls = Endpoints(self._http.build_request, restart_on_model_change, compressed_from)
        self._retry = retry

    predict = _call(Endpoints.predict)
    predict_one = _call(Endpoints.predict_one)
    explain = _call(Endpoints.explain)
    predict_csv = _call(Endpoints.predict_csv)
    record_outcomes = _call(Endpoints.record_outcomes)
    withdraw_outcome = _call(Endpoints.withdraw_outcome)
    model = _call(Endpoints.model)
    ready = _call(Endpoints.ready)

    def score_csv(self, source: Source, *, bias: bool = True) -> Iterator[bytes]:
        for flow in self._calls.score_csv(source, bias=bias):
            yield self._run(flow)

    score_csv.__doc__ = Endpoints.score_csv.__doc__

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, flow: RequestFlow[Result]) -> Result:
        response: httpx.Response | None = None
        while True:
            try:
                request = flow.send(response)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            with self._retry.unreachable(request):
                response = Retrying(**self._retry.options())(self._http.send, request)


class AsyncClient:
    """An asynchronous client; parameters and errors are those of `Client`.

    In tests, `transport=httpx.ASGITransport(app=...)` calls a service without a network.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        restart_on_model_change: bool = False,
        compressed_from: int | None = MIN_COMPRESSED_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(transport=transport, **http_options(url, key, timeout))
        self._calls = Endpoints(self._http.build_request, restart_on_model_change, compressed_from)
        self._retry = retry

    predict = _async_call(Endpoints.predict)
    predict_one = _async_call(Endpoints.predict_one)
    explain = _async_call(Endpoints.explain)
    predict_csv = _async_call(Endpoints.predict_csv, reads_file=True)
    record_outcomes = _async_call(Endpoints.record_outcomes)
    withdraw_outcome = _async_call(Endpoints.withdraw_outcome)
    model = _async_call(Endpoints.model)
    ready = _async_call(Endpoints.ready)

    async def score_csv(self, source: Source, *, bias: bool = True) -> AsyncIterator[bytes]:
        flows = self._calls.score_csv(source, bias=bias)
        while (flow := await asyncio.to_thread(next, flows, None)) is not None:  # it reads the file
            yield await self._run(flow)

    score_csv.__doc__ = Endpoints.score_csv.__doc__

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _run(self, flow: RequestFlow[Result]) -> Result:
        response: httpx.Response | None = None
        while True:
            try:
                request = flow.send(response)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            with self._retry.unreachable(request):
                response = await AsyncRetrying(**self._retry.options())(self._http.send, request)
