"""How many large requests fit into the memory limit of the process."""

import pytest

from api.inference.memory_limit import MAX_BULK_SLOTS, MIB, bulk_slots, memory_limit


@pytest.mark.parametrize(
    ("limit", "workers", "slots"),
    [(None, 2, MAX_BULK_SLOTS), (768 * MIB, 2, 5), (768 * MIB, 1, 13), (768 * MIB, 8, 1), (2**40, 2, MAX_BULK_SLOTS)],
)
def test_bulk_slots(limit, workers, slots):
    """The workers share the limit; each has at least one slot, and none more than without a limit."""
    assert bulk_slots(limit, workers) == slots


def test_too_little_memory(caplog):
    """A limit in which the workers hardly fit is a warning."""
    bulk_slots(512 * MIB, 4)
    assert "512 MiB of memory are few for 4 workers" in caplog.text


class TestMemoryLimit:
    @pytest.fixture
    def process(self, tmp_path):
        (tmp_path / "self").mkdir()
        return tmp_path / "self"

    def test_version_2(self, tmp_path, process):
        """The smallest limit of a group and those above it holds."""
        (process / "cgroup").write_text("0::/system.slice/batchyield.service\n")
        for group, limit in (("", "max"), ("system.slice", "1000"), ("system.slice/batchyield.service", "2000")):
            (tmp_path / "fs" / group).mkdir(parents=True, exist_ok=True)
            (tmp_path / "fs" / group / "memory.max").write_text(f"{limit}\n")
        assert memory_limit(process, tmp_path / "fs") == 1000

    def test_version_1(self, tmp_path, process):
        """A container names its group by the host's path, and sees it as the root."""
        (process / "cgroup").write_text("5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n")
        (tmp_path / "fs/memory").mkdir(parents=True)
        (tmp_path / "fs/memory/memory.limit_in_bytes").write_text("3000\n")
        assert memory_limit(process, tmp_path / "fs") == 3000

    def test_none(self, tmp_path, process):
        """Version 1 writes the largest number for no limit; other systems have no such file."""
        assert memory_limit(tmp_path / "missing", tmp_path) is None
        (process / "cgroup").write_text("4:memory:/\n")
        (tmp_path / "memory").mkdir()
        (tmp_path / "memory/memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
        assert memory_limit(process, tmp_path) is None
