"""A typed Litestar endpoint that decodes the body and replies with it: the framework's own pace, with no prediction.

    python -m benchmarks.servers.echo PORT

The body's type, the server and its settings are those of the service.
"""

import socket
import sys

import uvicorn
from litestar import Litestar, post

from api.payload import PredictionRequest
from api.server import BACKLOG, _config


@post("/v1/predictions", status_code=200)
async def echo(data: PredictionRequest) -> PredictionRequest:
    """What came in."""
    return data


def main() -> None:
    """Serves until told to stop."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=BACKLOG)
    uvicorn.Server(_config(Litestar([echo], openapi_config=None, logging_config=None))).run(sockets=[listener])


if __name__ == "__main__":
    main()
