"""The raw data: the pin that names them, and bringing what it names, and nothing else."""

from pathlib import Path

import msgspec

from batchyield.errors import ArtifactError, SetupError
from batchyield.files import md5_of, md5_of_file, write_atomic
from batchyield.plant.simulator import simulate
from batchyield.serving.lockfile import LockedFile, read_lock
from batchyield.versioning.lock_diff import LOCK
from batchyield.versioning.storage import content_store, embedded_s3, remotes, s3_objects
from batchyield.versioning.storage.s3_objects import ObjectState, SourceStatus

DATA = Path("data/raw/batches.csv")
PIN = Path("data/raw/batches.csv.dvc")
KEY = "raw/batches.csv"


class Import(msgspec.Struct, frozen=True):
    """The dep of a `.dvc` file: an object outside, by ETag or version."""

    path: str
    etag: str
    size: int | None = None
    version_id: str | None = None


class Pin(msgspec.Struct, frozen=True):
    """A `.dvc` file that imports one object."""

    deps: tuple[Import]
    outs: tuple[LockedFile]

    @property
    def md5(self) -> str:
        """Of the pinned bytes."""
        return self.outs[0].md5

    @property
    def where(self) -> tuple[str, str]:
        """The DVC remote that it imports from, and the path in there."""
        name, _, path = self.deps[0].path.removeprefix("remote://").partition("/")
        return name, path


def parse_pin(text: bytes | str) -> Pin:
    """Reads the text of the `.dvc` file.

    Raises:
        ArtifactError: it pins no object.
        SetupError: it pins one that is in no DVC remote.
    """
    try:
        pin = msgspec.yaml.decode(text, type=Pin)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ArtifactError(str(PIN), f"pins no S3 object: {error}", f"`git checkout {PIN}`") from error
    if not pin.deps[0].path.startswith("remote://"):
        raise SetupError(
            f"{PIN} imports {pin.deps[0].path}", "import it from a DVC remote: remote://source/raw/batches.csv"
        )
    return pin


def read_pin(root: Path = Path()) -> Pin:
    """Reads the `.dvc` file of a checkout; raises as `parse_pin` does, and where there is none."""
    try:
        return parse_pin((root / PIN).read_bytes())
    except OSError as error:
        raise ArtifactError(str(PIN), f"cannot be read: {error.strerror}", f"`git checkout {PIN}`") from error


def check_source(root: Path, pin: Pin) -> SourceStatus:
    """Lays the object that a pin imports beside it; see `objects.source`."""
    (name, path), dep = pin.where, pin.deps[0]
    return s3_objects.check_source(remotes.s3_client(name, root), name, path, dep.etag, dep.size, dep.version_id)


def fetch(root: Path = Path()) -> str:
    """Brings the pinned raw data into the workspace and says where from; the pin is only read.

    The copy in our own storage is asked first: the source object may have moved on since it was pinned, and a version
    may be deleted. Whatever answers, only bytes of the pinned md5 are taken.

    Raises:
        SetupError: no place has the pinned bytes, or the file in the workspace would be lost; all stays as it was.
    """
    pin = read_pin(root)
    if not is_current(root, pin.md5):
        data, said = _brought(root, pin)
        content_store.add_to_cache(root, data)
        write_atomic(root / DATA, data)
        return said
    content_store.add_to_cache(root, (root / DATA).read_bytes())
    return "stand in the workspace already"


def clean_cache(root: Path = Path()) -> list[str]:
    """Cleans the DVC cache of what the pins of a checkout name, where that is corrupt; a sentence for each file."""
    pinned = {path: digest for path, (_, digest) in read_lock(root / LOCK).outs().items()}
    said = "was corrupt in the DVC cache and is removed: `dvc repro` makes it anew, `dvc pull` brings it"
    return [
        f"{path} {said}" for path in content_store.remove_corrupt(root, {DATA.as_posix(): read_pin(root).md5} | pinned)
    ]


def is_current(root: Path, digest: str) -> bool:
    """Whether the file in the workspace has this md5; where it has not, it is safe to overwrite.

    Raises:
        SetupError: it is the only copy of its bytes.
    """
    file = root / DATA
    if not file.exists():
        return False
    found = md5_of_file(file)
    if found != digest and content_store.read_cached(root, found) is None:
        raise SetupError(
            f"{DATA} has md5 {found}, {PIN} pins {digest}, and the DVC cache has no copy of the former",
            f"move {DATA} away and try again; `batchyield data import FILE` makes a file the pinned one",
        )
    return found == digest


def _brought(root: Path, pin: Pin) -> tuple[bytes, str]:
    if (data := content_store.read_cached(root, pin.md5)) is not None:
        return data, "from the DVC cache"
    troubles = ["the DVC storage has no copy"]
    try:
        if (data := content_store.read_stored(root, pin.md5, DATA.as_posix())) is not None:
            return data, "from the DVC storage"
    except (SetupError, ArtifactError) as error:
        troubles = [str(error)]
    try:
        return _imported(root, pin), "from the source bucket"
    except SetupError as error:
        troubles.append(str(error))
    if _unfilled(root) and md5_of(sample := simulate().csv()) == pin.md5:
        return sample, "made anew: they are the sample plant's"
    said = "".join(f"\n- {trouble}" for trouble in troubles)
    raise SetupError(
        f"the raw data that {PIN} pins, md5 {pin.md5}, cannot be brought:{said}",
        "once a place answers with them, run the same command again; whoever has them can `batchyield data mirror`",
    )


def _unfilled(root: Path) -> bool:
    """Whether the source is the embedded server of a laptop, answers, and has no raw data yet."""
    if remotes.external_location(root):
        return False
    server = remotes.embedded_server(root=root)
    return embedded_s3.is_healthy(server) and not embedded_s3.has_object(server, KEY)


def _imported(root: Path, pin: Pin) -> bytes:
    (name, path), found = pin.where, check_source(root, pin)
    remote = remotes.s3_client(name, root)
    if found.state in (ObjectState.INTACT, ObjectState.OLDER):
        data = s3_objects.read_object(remote, name, remote.key(path), found.version)
        if data is not None and md5_of(data) == pin.md5:
            return data
        wrong = f"sent {len(data or b'')} bytes that are not the pinned ones"
        raise SetupError(f"{found.url} {wrong}", "`batchyield data audit` says what is wrong there")
    told = f"is no longer the object that {PIN} pins: it has {found.found}" if found.found else "does not exist there"
    which = f" in version {found.version}" if found.version else ""
    raise SetupError(
        f"{found.url}{which} {told}",
        "`batchyield data import FILE` pins another file; `batchyield data demo` fills an empty embedded bucket",
    )
