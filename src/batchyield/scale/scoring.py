"""Scoring by workers: the lines that this process would have made, made elsewhere."""

import uuid
from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

from distributed import Client, Future

from batchyield.scale.cluster import told
from batchyield.scale.member import Failure, Member, Shipped, UnlikeError, answer, described, ready
from batchyield.scale.ordered import in_order
from batchyield.scoring import Part


class Agreed(NamedTuple):
    """What answers, here and in so many workers."""

    member: Member
    workers: int


def agreed(client: Client, shipped: Shipped) -> Agreed:
    """A check before the first part: would every worker that there is answer as this process does?

    Raises:
        ArtifactError: the model must not be used.
        UnlikeError: a worker would answer with something else, or cannot answer.
    """
    here = ready(shipped).member
    with told(client.scheduler.address):
        answers = client.run(described, shipped, on_error="return")
    unlike = {}
    for address, found in answers.items():
        if not isinstance(found, Member):
            unlike[address] = found.told if isinstance(found, Failure) else f"{type(found).__name__}: {found}"
        elif differs := here.unlike(found):
            unlike[address] = differs
    if unlike:
        raise UnlikeError(unlike)
    return Agreed(here, len(answers))


def score(client: Client, shipped: Shipped, expected: Member, parts: Iterable[Part]) -> Iterator[bytes]:
    """The lines of each part, in order, as `batchyield.scoring.score` makes them.

    Args:
        client: of a scheduler with workers.
        shipped: the model.
        expected: from `agreed`; a worker that comes later is held against it, too.
        parts: of which only some for each worker are held at a time.

    Raises:
        InputError: a part cannot be read as batches.
        BatchyieldError: a worker would answer otherwise than this process, or failed.
        SetupError: the scheduler or all workers are lost.
    """
    run, numbers = uuid.uuid4().hex, count()
    # A task and not scattered data: when the workers that hold the model die, the next ones get it again.
    model = client.submit(_as_it_is, shipped, key=f"model-{run}")

    def submit(part: Part) -> Future:
        return client.submit(answer, model, expected, part, key=f"score-{run}-{next(numbers)}")

    for lines in in_order(client, submit, parts):
        if isinstance(lines, Failure):
            raise lines.error()
        yield lines


def _as_it_is(shipped: Shipped) -> Shipped:
    return shipped
