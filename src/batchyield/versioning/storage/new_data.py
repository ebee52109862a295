"""Import raw data: check, upload, pin, mirror, rebuild, and compare with the data that they replace."""

import contextlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import msgspec

from batchyield.errors import (
    BatchyieldError,
    CommandError,
    ConfigError,
    ConflictError,
    ContractError,
    InputError,
    RevisionError,
    StorageError,
    Violation,
)
from batchyield.files import md5_of, write_atomic
from batchyield.modelling.params import read_params
from batchyield.pipeline.raw_files import CACHE, list_files, read_raw
from batchyield.plant.contract import check_contract, render_report
from batchyield.plant.csv_reader import join_files, read_sheet
from batchyield.plant.raw_table import to_table
from batchyield.plant.table import TARGET
from batchyield.versioning.dataset_diff import DatasetDiff, diff_datasets
from batchyield.versioning.dataset_diff import render as rendered
from batchyield.versioning.dvc import dvc
from batchyield.versioning.storage import content_store, raw_data, raw_folder, remotes, s3_objects
from batchyield.versioning.storage.raw_folder import FilesDiff
from batchyield.versioning.storage.s3_objects import ObjectState, Versioning

REPORT = Path(".cache/new-data/report.md")
COMMITTED = ("data/raw", "dvc.yaml", "dvc.lock", "data/metrics")


class MetricChange(msgspec.Struct, frozen=True):
    """One metric before and after, scores in `TARGET.score_unit`; None if it did not exist."""

    metric: str
    before: float | None
    after: float | None


class NewData(msgspec.Struct, frozen=True):
    """Result of an import.

    Attributes:
        md5: of the file, now pinned.
        version: the version id of the object, if the pin has one.
        replaced: md5 that the commit pins.
        mirror: key of the copy in the storage.
        data: comparison with the committed data; None if there is none.
        metrics: those that differ from the commit; None if nothing was rebuilt.
        next: commands that remain to be run.
        uncompared: why `data` is None.
        files: of a folder, compared with the committed folder; None for a file.
    """

    md5: str
    url: str
    version: str | None
    replaced: str
    mirror: str
    data: DatasetDiff | None
    metrics: tuple[MetricChange, ...] | None
    next: tuple[str, ...]
    uncompared: str = ""
    files: FilesDiff | None = None


class SourceObject:
    """The source object, with its bytes before the import."""

    def __init__(self, root: Path, pin: raw_data.Pin) -> None:
        self.root, (self.name, path) = root, pin.location
        self.remote = remotes.s3_client(self.name, root)
        self.key, self.url = self.remote.key(path), self.remote.url(path)
        with remotes.s3_errors(self.name):
            self.versioning = s3_objects.read_versioning(self.remote)
        self.old = s3_objects.read_object(self.remote, self.name, self.key)
        self.version: str | None = None
        self.touched = False

    def protect(self, data: bytes, pinned: set[str], *, force: bool) -> None:
        """Check that no bytes are lost when `data` overwrites the object; bytes whose md5 is in `pinned` are mirrored.

        Raises:
            ConflictError: the bucket keeps no versions, and nothing has a copy of the current bytes.
        """
        if self.versioning is Versioning.ON or self.old is None or self.old == data:
            return
        digest = md5_of(self.old)
        path = raw_data.DATA.as_posix()
        if digest in pinned:
            content_store.mirror(self.root, self.old, path)
            return
        storage = remotes.s3_client("storage", self.root)
        if force or s3_objects.check_copy(storage, "storage", path, digest).state is ObjectState.INTACT:
            return
        raise ConflictError(
            f"{self.url} has {len(self.old)} bytes, md5 {digest}, that neither commit nor workspace pins and our "
            "storage has no copy of; the bucket keeps no versions, so they would be lost",
            f"`dvc update {raw_data.PIN} && batchyield data mirror` pins and keeps them; or give --force",
        )

    def put(self, data: bytes) -> str:
        """Upload unless the object has these bytes; return a message."""
        if data == self.old:
            return "the object has these bytes already"
        self.touched = True  # a request that fails may still have changed the object
        self.version = s3_objects.write_object(self.remote, self.name, self.key, data)
        return f"uploaded {len(data)} bytes"

    def restore(self) -> None:
        """Undo `put`."""
        if not self.touched:
            return
        which = {"VersionId": self.version} if self.version and self.versioning is Versioning.ON else {}
        if which or self.old is None:
            with remotes.s3_errors(self.name):
                self.remote.client.delete_object(Bucket=self.remote.bucket, Key=self.key, **which)
        elif s3_objects.read_object(self.remote, self.name, self.key) != self.old:
            s3_objects.write_object(self.remote, self.name, self.key, self.old)


def new_data(
    file: Path,
    root: Path = Path(),
    *,
    s3_port: int | None = None,
    repro: bool = True,
    force: bool = False,
    by_version: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> NewData:
    """Make the plant's CSV `file`, or a folder of such files, the pinned raw data of the checkout at `root`; rebuild.

    Args:
        s3_port: of the embedded server, if the remotes use it and it is not running.
        repro: rebuild.
        force: overwrite an object even if no copy of it is left.
        by_version: pin the version id from now on; not for a folder.
        progress: called with one line before each step.

    Raises:
        ContractError, InputError: the data break the contract or cannot be parsed; nothing was changed.
        ConfigError: the file cannot be read, or no version can be pinned.
        ConflictError: bytes would be lost.
        StorageError: upload, pin or mirror failed; everything was restored.
        CommandError: the rebuild failed; the data stay pinned.
    """
    files = check_raw(file, root, progress)
    progress(f"{file} keeps the data contract")
    committed, pinned = raw_data.read_pin_at("HEAD", root), raw_data.read_pin(root)
    if committed is None:
        raise RevisionError("HEAD pins no raw data", f"commit {raw_data.PIN}")
    with remotes.started(root, s3_port):
        old = _read_old(root, committed)
        before: dict[str, str] = {}
        if file.is_dir() and committed.is_folder:
            with contextlib.suppress(BatchyieldError):
                before = raw_folder.read_members(root, committed.md5)
        if file.is_dir():
            if by_version:
                raise ConfigError(
                    "a folder has no version id: our storage keeps every file", "leave --version-aware out"
                )
            own = file.resolve() == (root / raw_folder.FOLDER).resolve()
            pin, url, mirror = _pin_folder(root, files, own, progress)
        else:
            if md5_of(files[""]) != pinned.md5 and file.resolve() != (root / raw_data.DATA).resolve():
                raw_data.is_current(root, pinned.md5)
            pin, url, mirror = _pin_file(root, files[""], committed, pinned, force, by_version, progress)
        progress(f"pinned md5 {pin.md5}, mirrored at {mirror}")
    metrics = _rebuild(root, progress) if repro else None
    compared, uncompared = None, "no copy of the committed data is left"
    if old is not None:
        try:
            compared, uncompared = diff_datasets(old, join_files(files.values()) if file.is_dir() else files[""]), ""
        except InputError as error:  # the data of another plant
            uncompared = f"the committed data cannot be read by this code: {error}"
    return NewData(
        md5=pin.md5,
        url=url,
        version=pin.deps[0].version_id if pin.deps else None,
        replaced=committed.md5,
        mirror=mirror,
        data=compared,
        metrics=metrics,
        next=(*(() if repro else ("dvc repro",)), f"git add {' '.join(COMMITTED)}", "git commit", "dvc push"),
        uncompared=uncompared,
        files=raw_folder.diff_files(before, {n: md5_of(d) for n, d in files.items()}) if file.is_dir() else None,
    )


def _read_old(root: Path, committed: raw_data.Pin) -> bytes | None:
    """Return the committed raw data, the files of a folder joined; None if neither cache nor storage has them."""
    try:
        return raw_data.read_pinned(root, committed)
    except BatchyieldError:
        return None


def _pin_file(
    root: Path,
    data: bytes,
    committed: raw_data.Pin,
    pinned: raw_data.Pin,
    force: bool,
    by_version: bool,
    progress: Callable[[str], None],
) -> tuple[raw_data.Pin, str, str]:
    """Upload, pin and mirror a file; return its pin, the address of its object, and the key of its mirror."""
    bucket = SourceObject(root, pinned)
    if by_version and bucket.versioning is not Versioning.ON:
        raise ConfigError(
            f"versioning of the bucket of {bucket.url} is {bucket.versioning}, so no version can be pinned",
            "enable it on the bucket, or leave --version-aware out",
        )
    bucket.protect(data, {committed.md5, pinned.md5}, force=force)
    with _restored_on_error(root, bucket):
        progress(f"to {bucket.url}: {bucket.put(data)}")
        convert = pinned.is_folder or (by_version and not pinned.deps[0].version_id)
        pin = _pin(root, data, pinned, convert, by_version)
        return pin, bucket.url, content_store.mirror(root, data, raw_data.DATA.as_posix()).key


def _pin_folder(
    root: Path, files: dict[str, bytes], own: bool, progress: Callable[[str], None]
) -> tuple[raw_data.Pin, str, str]:
    """Pin and mirror a folder; return its pin, the address of the storage, and the key of the list of its files.

    `own` is whether the files are those of the workspace, so that there may be no other copy of them.
    """
    url = remotes.s3_client("storage", root).url()
    progress(f"to {url}: {len(files)} files")
    with _restored_on_error(root, copied=() if own else {md5_of(data) for data in files.values()}):
        mirror = raw_folder.mirror(root, files)
        md5 = raw_folder.pin_files(root, files)
        pin = raw_data.read_pin(root)
        if pin.md5 != md5:
            raise StorageError(
                f"the files have md5 {md5}, but DVC read {pin.md5}", "another process writes to the folder: stop it"
            )
        return pin, url, mirror


def check_raw(file: Path, root: Path, progress: Callable[[str], None] = lambda _: None) -> dict[str, bytes]:
    """Return the bytes of the plant's files with yields, by name, if they keep the contract of the params in `root`.

    The name of a file by itself is empty. `progress` receives the number of files of a folder that were parsed.

    Raises:
        ConfigError: a file cannot be read.
        ContractError, InputError: they break the contract, or cannot be parsed.
    """
    remedy = "name the plant's CSV with outcomes, for example `make new-data FILE=batches.csv`, or a folder of them"
    if not file.exists() or file == Path():
        raise ConfigError(f"{'no file is named' if file == Path() else f'{file} is not a file'}", remedy)
    try:
        if file.is_dir():
            files = {path.name: path.read_bytes() for path in list_files(file)}
            table = read_raw(file, root / CACHE, progress)
        else:
            files = {"": file.read_bytes()}
            table = to_table(read_sheet(files[""], with_yield=True))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", remedy) from error
    except InputError as error:
        raise InputError(*(Violation(f"{file}, {v.where}", v.problem) for v in error.violations)) from error
    result = check_contract(table, read_params(root / "params.yaml").validate)
    if result.violations:
        write_atomic(root / REPORT, render_report(result, table).encode())
        raise ContractError(str(file), result.violations, str(root / REPORT))
    return files


@contextlib.contextmanager
def _restored_on_error(root: Path, bucket: SourceObject | None = None, copied: Collection[str] = ()) -> Iterator[None]:
    """Restore pin, raw data and object if the block fails, and add that to the message.

    Files of the folder whose md5 is in `copied` have a copy elsewhere.
    """
    kept = (*raw_data.PINS, raw_data.DATA, raw_folder.PIPELINE, raw_data.DATA.parent / ".gitignore")
    before = {path: (root / path).read_bytes() if (root / path).exists() else None for path in kept}
    had_folder = (root / raw_folder.FOLDER).exists()
    try:
        yield
    except BaseException as error:
        for path, data in before.items():
            if data is None:
                (root / path).unlink(missing_ok=True)
            else:
                write_atomic(root / path, data)
        if not had_folder:
            shutil.rmtree(root / raw_folder.FOLDER, ignore_errors=True)
        pin = raw_data.read_pin(root)
        outcome = f"pin and {pin.data}"
        try:
            if pin.is_folder:
                raw_folder.fetch(root, pin.md5, copied)
            if bucket:
                bucket.restore()
                outcome = f"pin, {pin.data} and {bucket.url}"
            outcome += " are restored"
        except BatchyieldError as trouble:
            what = f"{bucket.url} may have the new file" if bucket else "the folder may have new files"
            outcome = f"pin and {pin.data} are restored, but {what}: {trouble}"
        if isinstance(error, BatchyieldError):
            raise StorageError(f"{error}\n{outcome}", "correct that and run the same command again") from error
        raise


def _pin(root: Path, data: bytes, before: raw_data.Pin, convert: bool, by_version: bool) -> raw_data.Pin:
    if convert:
        name, path = before.location
        options = ["--version-aware"] if by_version else []
        dvc("import-url", *options, "--force", f"remote://{name}/{path}", str(raw_data.DATA), cwd=root, quiet=True)
        raw_folder.read_from(root, raw_data.DATA)
    else:
        dvc("update", str(raw_data.PIN), cwd=root, quiet=True)
    pin = raw_data.read_pin(root)
    if pin.md5 != md5_of(data):
        raise StorageError(
            f"the uploaded bytes have md5 {md5_of(data)}, but DVC read {pin.md5}",
            "another process writes to that object: stop it",
        )
    content_store.add_to_cache(root, data)
    return pin


def _rebuild(root: Path, progress: Callable[[str], None]) -> tuple[MetricChange, ...]:
    progress("dvc repro")
    try:
        dvc("repro", cwd=root, quiet=True)
    except CommandError as error:
        raise CommandError(
            f"the new data are uploaded, pinned and mirrored, but the rebuild failed: {error}",
            f"then `dvc repro`; or return with `git clean -fq data/raw`, `git checkout {' '.join(COMMITTED)}`, "
            "`batchyield data fetch` and `dvc checkout`: the commit's data are kept",
        ) from error
    changes = json.loads(dvc("metrics", "diff", "--json", "HEAD", cwd=root, quiet=True) or "{}")
    return tuple(
        MetricChange(f"{Path(path).stem}.{name}", moved.get("old"), moved.get("new"))
        for path, figures in changes.items()
        for name, moved in figures.items()
    )


def render(result: NewData) -> str:
    """Return the result as text."""
    lines = [
        f"pinned    {result.md5}, in place of {result.replaced}"
        + (f", version {result.version}" if result.version else ""),
        f"source    {result.url}",
        f"mirror    {result.mirror}",
        *([f"files     {result.files.describe()}"] if result.files else []),
        "",
        *(rendered(result.data) if result.data else [f"nothing is compared: {result.uncompared}"]),
    ]
    if result.metrics is not None:
        against = f"against HEAD, scores{TARGET.in_score_unit}; `make report` adds their noise"
        lines += ["", f"metrics   {against if result.metrics else 'none changed'}"]
        width = max((len(figure.metric) for figure in result.metrics), default=0)
        for f in result.metrics:
            moved = "" if f.before is None or f.after is None else f"  {f.after - f.before:+.5f}"
            lines.append(f"  {f.metric:<{width}}  {_figure(f.before):>12} -> {_figure(f.after):>12}{moved}")
    return "\n".join([*lines, "", "next", *(f"  {step}" for step in result.next)])


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.5f}"
