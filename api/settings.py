"""The service's settings, read from environment variables into one frozen struct."""

import difflib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import URL

from batchyield.errors import ConfigError
from batchyield.journal.database import locate_journal
from batchyield.serving.deployment.model_store import DEFAULT_MODELS_DIRECTORY

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the directory of the image that holds `api/` and `dvc.lock`."""

PREFIX = "BATCHYIELD_"
OTHER_VARIABLES = tuple(f"{PREFIX}{name}" for name in ("BUCKET", "ENGINE", "IMAGE", "MERMAID", "REAL_DATA", "URL"))
"""Variables of commands and tests, which may be in the service's environment too."""

GIT_SECONDS = 10

HeaderText = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+@/-]{1,100}$")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: PREFIX + name.upper()):
    """Each field is the environment variable of its name: `max_body_bytes` is `BATCHYIELD_MAX_BODY_BYTES`.

    Attributes:
        lock: the dvc.lock that pins the model.
        model_dir: directory of the model's four files; empty: `data/model` beside the lock.
        models: directory of the deployed models and the desired state; empty: `.serving` beside the lock.
        model_version: the released version of the model, part of every response.
        revision: commit of the checkout, part of every response; empty: `git rev-parse HEAD`.
        max_body_bytes: larger request bodies are refused.
        inline_body_bytes: larger bodies are processed in a thread, so that they do not delay other requests.
        bulk_slots: large bodies in memory at once, per worker; further ones are refused with Retry-After. None: as many
            as the memory limit of the process allows, at most 32.
        body_seconds: time limit for a client to send its body.
        linger_bytes: how much of a refused body is still read, so that the client receives the refusal.
        work_seconds: time limit for the processing of a large body.
        head_seconds: time limit for a client to send the head of a request.
        idle_seconds: how long a connection stays open between two requests; longer than a proxy before it keeps one.
        max_connections: connections open at once, per worker.
        max_in_flight: requests processed at once, per worker.
        rate_limit: requests per second and key; 0: no limit.
        rate_limit_rows: batches per second and key; 0: no limit.
        rate_burst_seconds: capacity of a key's token buckets, as seconds of its rate.
        drain_seconds: how long the service still serves after SIGTERM while it reports not ready.
        root_path: path below which a proxy serves this service without removing it, such as `/yield`.
        cors_origins: origins, separated by commas, whose web pages may use this service; `*`: all.
        access_log: whether each request gets a line in the log.
        log_format: `json` or `console`; empty: `console` on a terminal, `json` elsewhere.
        api_key: a key that callers must send; it has all scopes.
        api_keys_file: the file that `batchyield keys` maintains.
        journal: a file, a URL of SQLite or PostgreSQL, or `off`; empty: `.journal/journal.sqlite` beside the lock.
        journal_url_file: a file with the same content, which keeps passwords out of the environment.
        journal_required: whether a request is refused, not answered and counted, if it cannot be journalled.
        journal_sync: of SQLite: `normal` survives a kill, `full` a loss of power too.
        journal_queue: predictions that may wait for the journal before requests are refused with Retry-After.
        journal_retention_days: older predictions and outcomes are removed; 0: none.
        bias: `on`: measured yields correct later predictions, as dvc.lock configures it; `off`: the model alone.
        watch_seconds: interval of the checks for drift and live error; 0: only on request.
        watch_batches: number of newest batches in a check.
    """

    lock: str = str(ROOT / "dvc.lock")
    model_dir: str = ""
    models: str = ""
    model_version: HeaderText = "unreleased"
    revision: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+@/-]{0,100}$")] = ""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=2**30)] = 16 * 2**20
    inline_body_bytes: Annotated[int, Meta(ge=0)] = 128 * 2**10
    bulk_slots: Annotated[int, Meta(ge=1)] | None = None
    body_seconds: Annotated[float, Meta(gt=0)] = 30.0
    linger_bytes: Annotated[int, Meta(ge=0)] = 64 * 2**20
    work_seconds: Annotated[float, Meta(gt=0)] = 30.0
    head_seconds: Annotated[float, Meta(gt=0)] = 10.0
    idle_seconds: Annotated[int, Meta(ge=1)] = 80
    max_connections: Annotated[int, Meta(ge=1)] = 4096
    max_in_flight: Annotated[int, Meta(ge=1)] = 1024
    rate_limit: Annotated[float, Meta(ge=0)] = 0.0
    rate_limit_rows: Annotated[float, Meta(ge=0)] = 0.0
    rate_burst_seconds: Annotated[float, Meta(gt=0)] = 5.0
    drain_seconds: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    root_path: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""
    cors_origins: Annotated[str, Meta(pattern=r"^(\*|https?://[^,/]+/?( *, *https?://[^,/]+/?)*)?$")] = ""
    access_log: bool = True
    log_format: Literal["", "json", "console"] = ""
    api_key: str = ""
    api_keys_file: str = ""
    journal: str = ""
    journal_url_file: str = ""
    journal_required: bool = True
    journal_sync: Literal["normal", "full"] = "normal"
    journal_queue: Annotated[int, Meta(ge=1)] = 20_000
    journal_retention_days: Annotated[float, Meta(ge=0)] = 0.0
    bias: Literal["on", "off"] = "on"
    watch_seconds: Annotated[float, Meta(ge=0)] = 15.0
    watch_batches: Annotated[int, Meta(ge=100, le=5000)] = 500

    @property
    def lock_path(self) -> Path:
        return Path(self.lock)

    @property
    def model_directory(self) -> Path:
        return Path(self.model_dir) if self.model_dir else self.lock_path.parent / "data" / "model"

    @property
    def journal_url(self) -> URL | None:
        """The database of the journal, or None for `off`.

        Raises:
            ConfigError: the setting names no usable database.
        """
        return locate_journal(self.journal, self.journal_url_file, self.lock_path.parent)

    @property
    def models_directory(self) -> Path:
        return Path(self.models) if self.models else self.lock_path.parent / DEFAULT_MODELS_DIRECTORY


VARIABLES: tuple[str, ...] = tuple(field.encode_name for field in msgspec.structs.fields(Settings))


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings, with defaults for variables that are missing or empty.

    Raises:
        ConfigError: a variable holds an invalid value; the message names it.
    """
    values = {name: environment[name] for name in VARIABLES if environment.get(name)}
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        problem, _, variable = str(error).partition(" - at `$.")
        variable = variable.rstrip("`")
        raise ConfigError(f"{variable}: {problem}", "correct the variable, or unset it for its default") from None
    if settings.revision:
        return settings
    return msgspec.structs.replace(settings, revision=git_revision(settings.lock_path.parent) or "unknown")


def git_revision(checkout: Path) -> str | None:
    """Return the commit that is checked out in `checkout`, or None if there is no git or no repository."""
    command = ("git", f"--git-dir={checkout / '.git'}", "rev-parse", "--verify", "--quiet", "HEAD")
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=GIT_SECONDS)  # noqa: S603 - fixed command
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a warning for each variable `BATCHYIELD_*` that nothing reads, with the closest known name."""
    warnings = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in VARIABLES and name not in OTHER_VARIABLES:
            known = [variable.removeprefix(PREFIX) for variable in VARIABLES]
            close = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
            hint = f"did you mean {PREFIX}{close[0]}?" if close else "docs/api.md lists the known ones"
            warnings.append(f"unknown environment variable {name}; {hint}")
    return warnings
