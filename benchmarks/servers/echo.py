"""A typed Litestar endpoint that decodes the body and replies with it: the framework's own pace, with no prediction.

    python -m benchmarks.servers.echo PORT

The body's type, the server and its settings are those of the service.
"""

import socket
import sys
from typing import Any

import uvicorn
from litestar import Litestar, post
from litestar.types import Receive, Send

from api.http.decoding import PredictionRequest
from api.http.uvicorn_protocol import LIMITS_KEY, ConnectionLimits
from api.server import BACKLOG, _config
from api.settings import Settings
from api.telemetry.metrics import Metrics


@post("/v1/predictions", status_code=200)
async def echo(data: PredictionRequest) -> PredictionRequest:
    """What came in."""
    return data


_echo = Litestar([echo], openapi_config=None, logging_config=None)


async def app(scope: Any, receive: Receive, send: Send) -> None:
    """The endpoint, whose connections are bounded like the service's."""
    if scope["type"] == "lifespan":
        scope["state"][LIMITS_KEY] = ConnectionLimits(Settings(), Metrics().connections_refused)
    await _echo(scope, receive, send)


def main() -> None:
    """Serve until a signal stops the process."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=BACKLOG)
    uvicorn.Server(_config(app, Settings())).run(sockets=[listener])


if __name__ == "__main__":
    main()
