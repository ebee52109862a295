"""The manifest of a run over many files: which file became which, with what model, and what was set aside."""

from typing import Literal

import msgspec

from batchyield.errors import ConflictError
from batchyield.scoring.predicted import Form
from batchyield.scoring.storage import new_file, read_bytes

MANIFEST = "manifest.json"


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file of a run.

    Attributes:
        input: path or URL.
        identity: differs if the content of the input does: ETag, or size and time.
        output: path or URL.
        status: `done`, or `failed` if the input is bad: then there is no output.
        rows: number of batches.
        input_md5, input_bytes, output_md5, output_bytes: of a file that is done.
        problem: of a file that failed.
    """

    input: str
    identity: str
    output: str
    status: Literal["done", "failed"]
    rows: int = 0
    input_md5: str = ""
    input_bytes: int = 0
    output_md5: str = ""
    output_bytes: int = 0
    problem: str = ""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `manifest.json` beside the outputs.

    Attributes:
        model: md5 of the model that predicted.
        form: of the outputs.
        files: in the order of the inputs.
    """

    model: str
    form: Form
    files: list[FileRecord]


def manifest_url(folder: str) -> str:
    """Return where the manifest of a folder of outputs is."""
    return f"{folder.rstrip('/')}/{MANIFEST}"


def read_manifest(folder: str) -> Manifest | None:
    """Return the manifest of a folder of outputs, or None if it has none.

    Raises:
        ConflictError: the file of that name is something else.
        StorageError: S3 is out of reach, or refuses.
    """
    url = manifest_url(folder)
    content = read_bytes(url)
    try:
        return None if content is None else msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, ValueError) as error:
        problem = f"{url} is not the manifest of an earlier run: {error}"
        raise ConflictError(problem, "choose another folder, or remove that file") from None


def write_manifest(folder: str, manifest: Manifest) -> None:
    """Write the manifest; the earlier one is replaced at once."""
    with new_file(manifest_url(folder)) as path:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
