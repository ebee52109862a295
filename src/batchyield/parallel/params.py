"""Parameters of the engine, which runs the tasks of an evaluation and of a search; it never changes their results."""

import os
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta

from batchyield.errors import ConfigError

ENGINE_VARIABLE = "BATCHYIELD_ENGINE"
"""Environment variable with an engine as YAML; it replaces the one of `params.yaml`."""

SCHEDULER_VARIABLE = "DASK_SCHEDULER_ADDRESS"
"""Dask's own environment variable for the address of the scheduler."""

Workers = Annotated[int, Meta(ge=1)]


class LocalEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="local"):
    """This process, or processes of this machine if `workers` is greater than 1."""

    workers: Workers = 1


class DaskEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="dask"):
    """Workers of a Dask cluster.

    Attributes:
        scheduler: address, `tcp://HOST:8786` or `tls://…`; None: `$DASK_SCHEDULER_ADDRESS`.
        workers: size of a cluster that is started on this machine and ends with the command; None: none is started.
        tls_ca, tls_cert, tls_key: PEM files of this client; None: as Dask is configured.
    """

    scheduler: str | None = None
    workers: Workers | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self) -> None:
        if self.scheduler and self.workers:
            raise ValueError("scheduler and workers exclude each other: workers starts a cluster on this machine")


EngineParams = LocalEngine | DaskEngine


def choose_engine(configured: EngineParams) -> EngineParams:
    """Return the engine of the environment variable, if it is set, else the configured one.

    Raises:
        ConfigError: the variable is not an engine.
    """
    text = os.environ.get(ENGINE_VARIABLE)
    if not text:
        return configured
    try:
        return msgspec.convert(yaml.safe_load(text), EngineParams)  # type: ignore[no-any-return]
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        problem = str(error).replace("`", "")
        remedy = "write for example {kind: local, workers: 4} or {kind: dask, scheduler: 'tcp://10.0.0.5:8786'}"
        raise ConfigError(f"${ENGINE_VARIABLE} is {text!r}: {problem}", remedy) from error
