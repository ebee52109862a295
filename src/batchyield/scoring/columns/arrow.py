"""NumPy arrays and texts to Arrow and back, by their buffers.

Where pandas is installed, `pyarrow.array`, `pyarrow.scalar`, `Array.to_numpy` and compute functions with a Python value
import it: 0.15 s and 40 MiB of every process, for nothing that scoring needs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_KINDS = {np.dtype(np.float64): pa.float64(), np.dtype(np.int32): pa.int32()}


def from_numbers(numbers: npt.NDArray[Any]) -> Any:
    """Return an Arrow array [n] of float64 or int32; it shares the memory of a contiguous one."""
    buffer = pa.py_buffer(np.ascontiguousarray(numbers))
    return pa.Array.from_buffers(_KINDS[numbers.dtype], len(numbers), [None, buffer])


def from_texts(texts: Sequence[str | None]) -> Any:
    """Return an Arrow array [n] of texts, with a null for each None."""
    given = [text is not None for text in texts]
    validity = None if all(given) else pa.py_buffer(np.packbits(given, bitorder="little"))
    present = [text or "" for text in texts]
    joined = "".join(present)
    ends = np.cumsum([0, *map(len, present if joined.isascii() else map(str.encode, present))], dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(joined.encode()), validity)


def to_numbers(array: Any, null: float) -> npt.NDArray[Any]:
    """Return an Arrow array [n] of float64 or int32 with `null` in place of each null."""
    if array.null_count:
        array = array.fill_null(from_numbers(np.array([null], array.type.to_pandas_dtype()))[0])
    return np.from_dlpack(array)
