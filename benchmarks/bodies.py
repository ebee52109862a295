"""Request bodies: distinct rows of the sample plant, so that repetition does not help the cache of cells."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchyield.plant.batch import Batch
from batchyield.plant.csv_reader import read_sheet
from batchyield.plant.simulator import simulate
from batchyield.serving.outcomes import Outcome

ROWS = 100
"""Of a large JSON body."""

ID = "000-000000"
"""Of each batch in a JSON body: `rotate.lua` puts another in its place each time, as long and never there before."""

MEASURED = 200
"""Batches with outcomes: more than a correction and its interval depend on."""

CSV_ROWS = 10_000
LARGE_BODIES = 100


class Bodies(NamedTuple):
    """Files that the load generator and the servers read.

    Attributes:
        single: a JSON body a line, each with one batch.
        placed: the same, each batch with a `sequence`: the next one after `measured`.
        measured: a JSON body of batches that were measured, and one with their yields.
        hundred: the same, each with a hundred.
        sheet: the plant's file with yields, which the usual service trains on.
        large_sheet: a sheet of 10,000 other batches.
    """

    single: Path
    placed: Path
    measured: tuple[bytes, bytes]
    hundred: Path
    sheet: Path
    large_sheet: Path


def write_bodies(folder: Path) -> Bodies:
    """Writes all of them into `folder`."""
    bodies = Bodies(
        *(folder / "single.ndjson", folder / "placed.ndjson", _measured()),
        *(folder / "hundred.ndjson", folder / "sheet.csv", folder / "large_sheet.csv"),
    )
    bodies.sheet.write_bytes(simulate().csv())
    large_sheet = simulate(CSV_ROWS, seed=11).csv()
    bodies.large_sheet.write_bytes(large_sheet)
    batches = [msgspec.structs.replace(batch, id=ID) for batch in read_sheet(large_sheet).batches]
    draw = random.Random(1)  # noqa: S311 - an order, not a secret
    draw.shuffle(batches)
    bodies.single.write_bytes(_lines([[batch] for batch in batches]))
    bodies.placed.write_bytes(_lines([[msgspec.structs.replace(batch, sequence=MEASURED)] for batch in batches]))
    bodies.hundred.write_bytes(_lines([draw.sample(batches, ROWS) for _ in range(LARGE_BODIES)]))
    return bodies


def _measured() -> tuple[bytes, bytes]:
    plant = simulate(MEASURED, seed=12)
    placed = [
        msgspec.structs.replace(batch, id=f"measured-{at}", sequence=at)
        for at, batch in enumerate(read_sheet(plant.csv()).batches)
    ]
    outcomes = [Outcome(str(batch.id), value) for batch, value in zip(placed, plant.yields, strict=True)]
    return msgspec.json.encode({"inputs": placed}), msgspec.json.encode({"outcomes": outcomes})


def _lines(requests: Sequence[Sequence[Batch]]) -> bytes:
    return b"".join(msgspec.json.encode({"inputs": inputs}) + b"\n" for inputs in requests)
