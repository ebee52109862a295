"""The train-test split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyield.errors import ContractError
from batchyield.modelling.params import ForwardSplit, RandomSplit
from batchyield.pipeline.split import held_out

IDS = [f"sample_{n}" for n in range(1, 1001)]
RANDOM = RandomSplit(test_fraction=0.2, seed=1)
FORWARD = ForwardSplit(test_fraction=0.2)


def chosen(ids, split):
    return {name for name, test in zip(ids, held_out(ids, split), strict=True) if test}


class TestHoldout:
    @given(st.permutations(IDS[:50]), st.sampled_from([RANDOM, FORWARD]))
    def test_order_of_rows(self, ids, split):
        """The split does not depend on the order of the rows."""
        assert chosen(ids, split) == chosen(IDS[:50], split)

    @given(st.floats(0.01, 0.99), st.sampled_from([RandomSplit, ForwardSplit]), st.integers(1, 200))
    def test_share(self, fraction, kind, rows):
        """The number of test batches is the rounded share."""
        split = kind(test_fraction=fraction, **({"seed": 3} if kind is RandomSplit else {}))
        assert held_out(IDS[:rows], split).sum() == round(rows * fraction)

    def test_forward(self):
        """The forward split holds out the latest batches."""
        assert chosen(IDS, FORWARD) == set(IDS[800:])

    def test_random(self):
        """The random split holds out all periods equally."""
        numbers = np.array([int(name[7:]) for name in chosen(IDS, RANDOM)])
        counts = np.histogram(numbers, bins=5, range=(0, 1000))[0]
        assert counts.min() > 20
        assert chosen(IDS, RANDOM) != chosen(IDS, RandomSplit(test_fraction=0.2, seed=2))

    def test_added_batches(self):
        """Most batches keep their side when others are added."""
        before, after = chosen(IDS[:900], RANDOM), chosen(IDS, RANDOM) & set(IDS[:900])
        assert len(before ^ after) < 20

    def test_id_without_number(self):
        """The forward split refuses an id without a number."""
        with pytest.raises(ContractError, match=r"row 1: id 'spare' has no number"):
            held_out(["sample_1", "spare"], FORWARD)
        assert held_out(["sample_1", "spare"], RandomSplit(test_fraction=0.5, seed=1)).sum() == 1
