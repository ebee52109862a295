"""Journals for the tests: a new one in each kind of database, and the checkout of a service that writes it."""

import pytest
from support.journal_database import database, opened
from support.service import make_checkout

from batchyield.journal.migrate import upgrade_schema


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """A new journal in each kind of database, its schema made."""
    if request.param == "sqlite":
        file = tmp_path / "journal.sqlite"
        with opened(file) as store:
            upgrade_schema(store)
        yield str(file)
    else:
        with database(request.getfixturevalue("postgres_server")) as url:
            yield url


@pytest.fixture
def store(url):
    with opened(url) as store:
        yield store
