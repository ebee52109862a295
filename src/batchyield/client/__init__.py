"""A typed client of the service, blocking (`Client`) and asynchronous (`AsyncClient`); needs `batchyield[client]`.

    from batchyield.client import Client

    with Client("http://127.0.0.1:8000") as client:
        predictions = client.predict([{"id": "a", "A1": 300, "B14": 400}])

Imports neither NumPy nor onnxruntime. `batchyield.client.errors` lists the exceptions.
"""

from batchyield.client.clients import AsyncClient, Client
from batchyield.client.errors import (
    ClientError,
    MixedModelsError,
    RefusedError,
    ReplyError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
)
from batchyield.client.retry import Retry

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "MixedModelsError",
    "RefusedError",
    "ReplyError",
    "Retry",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
]
