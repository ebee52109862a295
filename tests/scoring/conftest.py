"""What the tests of scoring share."""

import pytest
from support.service import make_checkout


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkout with a model."""
    return make_checkout(tmp_path_factory.mktemp("model"))
