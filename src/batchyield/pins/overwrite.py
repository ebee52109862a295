"""Overwriting the source object so that nothing is lost by it, and so that it can be undone."""

from pathlib import Path

from batchyield.errors import SetupError
from batchyield.pins import copies, objects, raw, remotes
from batchyield.pins.objects import State, Versioning


class SourceObject:
    """The source object as it stood when it was first looked at."""

    def __init__(self, root: Path, pin: raw.Pin) -> None:
        self.root, (self.name, path) = root, pin.where
        self.remote = remotes.s3_client(self.name, root)
        self.key, self.url = self.remote.key(path), self.remote.url(path)
        with remotes.asking(self.name):
            self.versioning = objects.versioning(self.remote)
        self.old = objects.read(self.remote, self.name, self.key)
        self.version: str | None = None
        self.touched = False

    def spare(self, data: bytes, pinned: set[str], *, force: bool) -> None:
        """Sees to it that nothing is lost when `data` overwrites the object; `pinned` are md5s that are to be kept."""
        if self.versioning is Versioning.ON or self.old is None or self.old == data:
            return
        digest = copies.name_of(self.old)
        if digest in pinned:
            copies.mirror(self.root, self.old, raw.DATA.as_posix())
            return
        storage = remotes.s3_client("storage", self.root)
        if force or objects.copy(storage, "storage", raw.DATA.as_posix(), digest).state is State.INTACT:
            return
        raise SetupError(
            f"{self.url} holds {len(self.old)} bytes, md5 {digest}, that neither commit nor workspace pins and our "
            "storage has no copy of; the bucket keeps no versions, so they would be gone",
            f"`dvc update {raw.PIN} && batchyield mirror` pins and keeps them; or give --force",
        )

    def put(self, data: bytes) -> str:
        """Uploads, unless the object has these bytes; says which."""
        if data == self.old:
            return "the object has these bytes already"
        self.touched = True  # a request that fails may still have arrived
        self.version = objects.write(self.remote, self.name, self.key, data)
        return f"uploaded {len(data)} bytes"

    def put_back(self) -> None:
        """Undoes `put`."""
        if not self.touched:
            return
        if self.version and self.versioning is Versioning.ON:
            with remotes.asking(self.name):
                self.remote.client.delete_object(Bucket=self.remote.bucket, Key=self.key, VersionId=self.version)
        elif self.old is None:
            with remotes.asking(self.name):
                self.remote.client.delete_object(Bucket=self.remote.bucket, Key=self.key)
        elif objects.read(self.remote, self.name, self.key) != self.old:
            objects.write(self.remote, self.name, self.key, self.old)
