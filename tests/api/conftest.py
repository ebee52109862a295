"""A checkout with a small pinned model, and a service that serves it, for the tests of one module."""

import pytest
from support.service import Running, make_checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def service(checkout):
    """`python -m api` as a process that wrote no error by its end."""
    with Running(checkout) as running:
        yield running
    assert "Traceback" not in running.output + running.errors
