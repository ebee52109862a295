"""api/http/uvicorn_protocol.py relies on private classes of uvicorn: a change to them must be read first."""

import hashlib
import inspect
import tomllib
from importlib.metadata import version

from packaging.requirements import Requirement
from support.service import ROOT
from uvicorn.protocols.http import httptools_impl

READ = "1d4e1c579df4168433a61a01f10c628b31c1790e72dd9769d2b8633b22214033"


def test_source_hash():
    """uvicorn's private protocol classes have the reviewed source."""
    source = inspect.getsource(httptools_impl)
    assert hashlib.sha256(source.encode()).hexdigest() == READ, (
        "uvicorn/protocols/http/httptools_impl.py has changed: compare what "
        "api/http/uvicorn_protocol.py overrides and calls"
    )


def test_version_bound():
    """uvicorn is pinned below its next minor version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (uvicorn,) = (one for one in map(Requirement, project["optional-dependencies"]["serve"]) if one.name == "uvicorn")
    major, minor = version("uvicorn").split(".")[:2]
    assert uvicorn.specifier.contains(version("uvicorn"))
    assert not uvicorn.specifier.contains(f"{major}.{int(minor) + 1}")
