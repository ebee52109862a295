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

from batchyield.errors import SetupError
from batchyield.journal.database import locate_journal
from batchyield.serving.deployment.model_store import DEFAULT_MODELS_DIRECTORY

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder of the image that holds `api/` and `dvc.lock`."""

PREFIX = "BATCHYIELD_"
OF_OTHERS = ("BATCHYIELD_MERMAID", "BATCHYIELD_REAL_DATA", "BATCHYIELD_URL")
"""Variables of the commands and tests, which may share the service's environment."""

GIT_SECONDS = 10

HeaderText = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+@/-]{1,100}$")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: PREFIX + name.upper()):
    """Each field is the environment variable of its name: `max_body_bytes` is `BATCHYIELD_MAX_BODY_BYTES`.

    Attributes:
        lock: the dvc.lock that pins the model.
        model_dir: folder of the model's four files; empty: `data/model` beside the lock.
        models: folder that says which deployed model serves; empty: `.serving` beside the lock.
        model_version: the released version of the model, part of every answer.
        revision: commit of the checkout, part of every answer; empty: `git rev-parse HEAD`.
        max_body_bytes: larger request bodies are refused.
        inline_body_bytes: larger bodies are worked on in a thread, so that the others need not wait.
        bulk_slots: large bodies held at once; further ones are asked to come back.
        body_seconds: how long a client may take to send its body.
        linger_bytes: how much of a refused body is still read, so that the client gets to see the refusal.
        work_seconds: how long a large body may be waited for to be worked on.
        head_seconds: how long a client may take to send the head of a request.
        max_connections: connections open at once, in each worker.
        max_in_flight: requests being answered at once, in each worker.
        rate_limit: requests a second of each key; 0: any number.
        rate_limit_rows: batches a second of each key; 0: any number.
        rate_burst_seconds: for how long a key that asks for nothing saves up.
        drain_seconds: how long the service still answers after SIGTERM, when it no longer says that it is ready.
        access_log: whether each request is a line of the log.
        log_format: `json` or `console`; empty: `console` on a terminal, `json` elsewhere.
        api_key: a key that callers must send; it has all scopes.
        api_keys_file: the file that `batchyield keys` keeps.
        journal: a file, a URL of SQLite or PostgreSQL, or `off`; empty: `.journal/journal.sqlite` beside the lock.
        journal_url_file: a file that holds the same, so that no password stands in the environment.
        journal_required: whether what cannot be journalled is refused rather than answered and counted.
        journal_sync: of SQLite: `normal` outlives a kill, `full` a loss of power too.
        journal_queue: answers that may wait for the journal before further requests are asked to come back.
        journal_retention_days: older predictions and outcomes are removed; 0 keeps all.
        watch_seconds: pause between two looks at the journal for drift and live error; 0: only when asked.
        watch_batches: newest batches in a look.
    """

    lock: str = str(ROOT / "dvc.lock")
    model_dir: str = ""
    models: str = ""
    model_version: HeaderText = "unreleased"
    revision: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+@/-]{0,100}$")] = ""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=2**30)] = 16 * 2**20
    inline_body_bytes: Annotated[int, Meta(ge=0)] = 128 * 2**10
    bulk_slots: Annotated[int, Meta(ge=1)] = 32
    body_seconds: Annotated[float, Meta(gt=0)] = 30.0
    linger_bytes: Annotated[int, Meta(ge=0)] = 64 * 2**20
    work_seconds: Annotated[float, Meta(gt=0)] = 30.0
    head_seconds: Annotated[float, Meta(gt=0)] = 10.0
    max_connections: Annotated[int, Meta(ge=1)] = 4096
    max_in_flight: Annotated[int, Meta(ge=1)] = 1024
    rate_limit: Annotated[float, Meta(ge=0)] = 0.0
    rate_limit_rows: Annotated[float, Meta(ge=0)] = 0.0
    rate_burst_seconds: Annotated[float, Meta(gt=0)] = 5.0
    drain_seconds: Annotated[float, Meta(ge=0, le=3600)] = 0.0
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
        """Where the journal is; None where there is to be none.

        Raises:
            SetupError: what is given names no database that can hold one.
        """
        return locate_journal(self.journal, self.journal_url_file, self.lock_path.parent)

    @property
    def models_directory(self) -> Path:
        return Path(self.models) if self.models else self.lock_path.parent / DEFAULT_MODELS_DIRECTORY


VARIABLES: tuple[str, ...] = tuple(field.encode_name for field in msgspec.structs.fields(Settings))


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings, with defaults for variables that are missing or empty.

    Raises:
        SetupError: a variable holds an invalid value; the message names it.
    """
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        raise SetupError(
            f"{where.rstrip('`')}: {problem}", "correct the variable, or unset it for its default"
        ) from None
    if settings.revision:
        return settings
    return msgspec.structs.replace(settings, revision=git_revision(settings.lock_path.parent) or "unknown")


def git_revision(checkout: Path) -> str | None:
    """Return the commit that is checked out in `checkout`, or None if git cannot tell."""
    command = ("git", f"--git-dir={checkout / '.git'}", "rev-parse", "--verify", "--quiet", "HEAD")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS)  # noqa: S603 - fixed command
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a warning for each variable `BATCHYIELD_*` that nothing reads, with the closest known name."""
    warnings = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in VARIABLES and name not in OF_OTHERS:
            known = [variable.removeprefix(PREFIX) for variable in VARIABLES]
            close = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
            hint = f"did you mean {PREFIX}{close[0]}?" if close else "docs/api.md lists the known ones"
            warnings.append(f"unknown environment variable {name}; {hint}")
    return warnings
