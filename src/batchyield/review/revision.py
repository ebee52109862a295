"""Files of a commit or of the working tree, read from git, the workspace, the DVC cache or the storage."""

from collections.abc import Iterable
from pathlib import Path

from batchyield.errors import CommandError, RevisionError
from batchyield.files import md5_of
from batchyield.serving.lockfile import DvcLock, read_lock
from batchyield.versioning.git import git
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.revisions import read_lock_at, read_text_at, require_commit
from batchyield.versioning.storage import content_store, raw_data


class Revision:
    """A commit, or the working tree if `revision` is None.

    Attributes:
        name: abbreviated hash; for the working tree that of HEAD, and whether files differ from it.
        lock: its dvc.lock.
    """

    def __init__(self, root: Path, revision: str | None = None) -> None:
        self.root, self.revision = root, revision
        self._files: dict[str, bytes] = {}
        if revision is None:
            head = git("rev-parse", "HEAD", cwd=root).strip()[:12]
            changed = git("status", "--porcelain", "--untracked-files=no", cwd=root)
            self.name = f"{head}, with changes not committed" if changed else head
            self.lock: DvcLock = read_lock(root / LOCK)
        else:
            self.name = revision[:12]
            self.lock = read_lock_at(revision, root)

    def find_text(self, path: Path | str) -> str | None:
        """Return the text of a file that git tracks; None if it does not exist."""
        if self.revision is not None:
            return read_text_at(self.revision, path, self.root)
        file = self.root / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    def text(self, path: Path | str) -> str:
        """Return the text of a file that git tracks."""
        found = self.find_text(path)
        if found is None:
            raise RevisionError(f"{self.name} has no {path}", "compare with a revision that has it: `git log --all`")
        return found

    def md5(self, path: str) -> str | None:
        """Return the md5 of a pipeline output or of the raw data; None if it is not pinned."""
        if path in raw_data.PATHS:
            return self.raw_pin().md5
        return self.lock.outs().get(path, (None, None))[1]

    def raw_pin(self) -> raw_data.Pin:
        """Return the pin of the raw data."""
        texts = (self.find_text(pin) for pin in reversed(raw_data.PINS))
        found = next((text for text in texts if text is not None), None)
        return raw_data.parse_pin(self.text(raw_data.PIN) if found is None else found)

    def read_raw(self) -> bytes:
        """Return the raw data, the files of a folder joined; raises the errors of `fetch`."""
        pin = self.raw_pin()
        return raw_data.read_pinned(self.root, pin) if pin.is_folder else self.read(raw_data.DATA.as_posix())

    def fetch(self, paths: Iterable[str]) -> None:
        """Read pinned files into memory, with one start of the storage for all of them.

        Raises:
            RevisionError: the revision pins no such file.
            StorageError: neither workspace, cache nor storage has it.
            ArtifactError: the storage has other bytes than pinned.
        """
        lacking = {}
        for path in paths:
            md5 = self.md5(path)
            if md5 is None:
                remedy = f"`git log --all -- {LOCK}` lists revisions that may"
                raise RevisionError(f"{self.name} pins no {path}", remedy)
            file = self.root / path
            if file.is_file() and md5_of(data := file.read_bytes()) == md5:
                self._files[path] = data
            else:
                lacking[path] = md5
        self._files |= content_store.read_pinned(self.root, lacking, self.name)

    def read(self, path: str) -> bytes:
        """Return the pinned bytes of a file; raises the errors of `fetch`."""
        if path not in self._files:
            self.fetch([path])
        return self._files[path]


def merge_base(revision: str, root: Path) -> Revision:
    """Return the merge base of a revision and HEAD; the revision itself if they have none."""
    found = require_commit(revision, root)
    try:
        return Revision(root, git("merge-base", found, "HEAD", cwd=root).strip())
    except CommandError:
        return Revision(root, found)
