"""How many large bodies fit into the memory limit of the process, which a container or a systemd unit sets."""

import logging
from pathlib import Path

logger = logging.getLogger("batchyield.service")

MIB = 2**20
MAX_BULK_SLOTS = 32

WORKER_BYTES = 130 * MIB
"""Memory of an idle worker."""

BULK_BYTES = 48 * MIB
"""Memory that one more large body takes: 10,000 batches as CSV or JSON, decoded, predicted and journalled."""


def memory_limit(process: Path = Path("/proc/self"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the smallest memory limit of the control groups of a process, in bytes; None: no limit can be read.

    Both versions of control groups are read. A container sees its own group as the root of `cgroups`.
    """
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (cgroups / "memory", "memory.limit_in_bytes") if controllers else (cgroups, "memory.max")
        group = root / path.strip("/")
        for directory in (group, *group.parents):
            if directory == root.parent:
                break
            try:
                limits.append(int((directory / name).read_text()))
            except (OSError, ValueError):  # missing, or `max`
                continue
    limit = min(limits, default=None)
    return limit if limit is not None and limit < 2**60 else None


def bulk_slots(limit: int | None, workers: int) -> int:
    """Return how many large bodies each worker can hold at once within a limit in bytes that all workers share."""
    if limit is None:
        return MAX_BULK_SLOTS
    slots = (limit // workers - WORKER_BYTES) // BULK_BYTES
    if slots < 1:
        logger.warning(
            "%d MiB of memory are few for %d workers: large requests may end one; raise the limit, or start fewer",
            limit // MIB,
            workers,
        )
    return max(1, min(slots, MAX_BULK_SLOTS))
