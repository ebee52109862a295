"""A wheel, byte for byte the same whenever and wherever it is written from the same files."""

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping

WRITTEN = (2020, 2, 2, 0, 0, 0)
"""The date of every entry: the one that hatchling gives, so that a package's age says nothing."""

EPOCH = "1580601600"
"""The same as SOURCE_DATE_EPOCH, for wheels that hatchling builds."""

TAG = "py3-none-any"
MODE = 0o100644 << 16
UNIX = 3


def filename(name: str, version: str) -> str:
    """The wheel's own name, as its standard has it."""
    return f"{name.replace('-', '_')}-{version}-{TAG}.whl"


def wheel(name: str, version: str, metadata: str, files: Mapping[str, bytes]) -> bytes:
    """A wheel of pure Python.

    Stored rather than compressed, since what zlib makes of equal bytes differs between its builds.

    Args:
        name: of the distribution.
        version: of it.
        metadata: text of `METADATA`.
        files: path in the wheel -> content.
    """
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    described = f"Wheel-Version: 1.0\nGenerator: batchyield\nRoot-Is-Purelib: true\nTag: {TAG}\n"
    entries = dict(sorted(files.items()))
    entries[f"{info}/METADATA"] = metadata.encode()
    entries[f"{info}/WHEEL"] = described.encode()
    entries[f"{info}/RECORD"] = _record(entries, f"{info}/RECORD")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path, data in entries.items():
            entry = zipfile.ZipInfo(path, WRITTEN)
            entry.external_attr = MODE
            entry.create_system = UNIX
            archive.writestr(entry, data)
    return packed.getvalue()


def _record(entries: Mapping[str, bytes], own: str) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for path, data in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow((path, f"sha256={digest}", len(data)))
    rows.writerow((own, "", ""))
    return text.getvalue().encode()
