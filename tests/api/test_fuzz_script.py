"""A slice of `make fuzz`: fuzzed requests against a real service process."""

import sys

from support.commands import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import fuzz


def test_fuzz():
    """No fuzzed request makes the service fail."""
    table, problem = fuzz.run(count=800, seed=20)
    assert problem == ""
    statuses = set(table.splitlines()[0].split())
    assert {"200", "400", "405", "415", "422"} <= statuses <= {"200", "400", "405", "413", "415", "422", "503"}


def test_reproducible():
    """A request depends on the seed and its number only."""
    assert [fuzz.made(7, number) for number in range(50)] == [fuzz.made(7, number) for number in range(50)]
    assert fuzz.made(7, 1) != fuzz.made(8, 1)
