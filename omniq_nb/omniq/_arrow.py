"""Frames and arrays as Arrow IPC streams.

Nothing is imported until a value of a library's is met: its type then says that the library is loaded already. What
Arrow can't give back exactly (object columns, exotic indexes) is left to the caller to pickle.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

POLARS_FRAME, POLARS_SERIES, PANDAS_FRAME, PANDAS_SERIES, ARRAY, ARRAY_SCALAR, ARROW_TABLE, ARROW_BATCH = range(40, 48)

# Kinds of numpy dtypes whose bytes are their whole value.
_FLAT_KINDS = frozenset("biufcmMSU")
_PANDAS_KINDS = frozenset("biufmM")


def pack(value: Any) -> tuple[int, bytes] | None:
    """The extension code and bytes of a frame or array; ``None`` if it is none, or could not be exact."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if library == "numpy":
        return _pack_numpy(value)
    packer = _PACKERS.get((library, kind.__name__))
    return packer(value) if packer else None


def unpack(code: int, data: memoryview) -> object:
    """The frame or array. Raises ImportError where its library is missing."""
    return _UNPACKERS[code](data)


def _pack_numpy(value: Any) -> tuple[int, bytes] | None:
    import numpy as np

    if isinstance(value, np.generic):
        exact = value.dtype.kind in _FLAT_KINDS and type(value) is value.dtype.type
        return (ARRAY_SCALAR, _encode([value.dtype.str, value.tobytes()])) if exact else None
    if type(value) is not np.ndarray or value.dtype.kind not in _FLAT_KINDS or value.dtype.itemsize == 0:
        return None
    order: Literal["F", "C"] = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    flat = value.ravel(order)
    return ARRAY, _encode([value.dtype.str, value.shape, order, _polars_stream(_as_column(flat))])


def _as_column(flat: np.ndarray[Any, Any]) -> pl.DataFrame:
    import polars as pl

    dtype = flat.dtype
    if not (dtype.isnative and dtype.kind in "iuf" and dtype.itemsize in (1, 2, 4, 8) and dtype.str[1:] != "f2"):
        flat = flat.view(f"u{next(size for size in (8, 4, 2, 1) if dtype.itemsize % size == 0)}")
    return pl.DataFrame({"": flat})


def _unpack_array(data: memoryview) -> np.ndarray[Any, Any]:
    import numpy as np

    dtype, shape, order, stream = _decode(data)
    flat = _polars_frame(stream).to_series().to_numpy(writable=True)
    whole: np.ndarray[Any, Any] = flat.view(np.dtype(dtype)).reshape(shape, order=order)
    return whole


def _unpack_scalar(data: memoryview) -> object:
    import numpy as np

    dtype, raw = _decode(data)
    return np.frombuffer(raw, np.dtype(dtype))[0]


def _polars_stream(frame: pl.DataFrame) -> bytes:
    return frame.write_ipc_stream(None).getvalue()


def _polars_frame(stream: bytes | memoryview) -> pl.DataFrame:
    import polars as pl

    return pl.read_ipc_stream(io.BytesIO(stream))


def _pack_polars(frame: pl.DataFrame) -> tuple[int, bytes] | None:
    if any("Object" in str(dtype) for dtype in frame.dtypes):
        return None
    return POLARS_FRAME, _polars_stream(frame)


def _pack_polars_series(series: pl.Series) -> tuple[int, bytes] | None:
    packed = _pack_polars(series.to_frame())
    return packed and (POLARS_SERIES, packed[1])


def _table_stream(schema: pa.Schema, write: Any) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        write(writer)
    return sink.getvalue()


def _pack_table(table: pa.Table) -> tuple[int, bytes]:
    return ARROW_TABLE, _table_stream(table.schema, lambda writer: writer.write_table(table))


def _pack_batch(batch: pa.RecordBatch) -> tuple[int, bytes]:
    return ARROW_BATCH, _table_stream(batch.schema, lambda writer: writer.write_batch(batch))


def _unpack_table(data: memoryview) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_stream(pa.py_buffer(bytes(data))).read_all()


def _unpack_batch(data: memoryview) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.ipc.open_stream(pa.py_buffer(bytes(data))).read_next_batch()


def _pack_pandas(frame: pd.DataFrame) -> tuple[int, bytes] | None:
    try:
        import pyarrow as pa
    except ImportError:
        return None
    if not _pandas_is_exact(frame):
        return None
    return PANDAS_FRAME, _pack_table(pa.Table.from_pandas(frame, nthreads=1))[1]


def _pandas_is_exact(frame: pd.DataFrame) -> bool:
    import pandas as pd

    columns = frame.columns
    named = all(type(name) is str for name in columns) and columns.is_unique and columns.name is None
    plain_index = type(frame.index) is pd.RangeIndex and isinstance(frame.index.name, str | None)
    return (
        named
        and bool(len(columns))
        and plain_index
        and not frame.attrs
        and columns.dtype == pd.Index(["a"]).dtype
        and all(_pandas_dtype_is_exact(dtype) for dtype in frame.dtypes)
    )


def _pandas_dtype_is_exact(dtype: Any) -> bool:
    import numpy as np
    import pandas as pd

    if isinstance(dtype, np.dtype):
        return dtype.kind in _PANDAS_KINDS and dtype.isnative and dtype.str[1:] != "f2"
    return isinstance(dtype, pd.StringDtype | pd.BooleanDtype | pd.Int64Dtype | pd.Float64Dtype | pd.DatetimeTZDtype)


def _unpack_pandas(data: memoryview) -> pd.DataFrame:
    frame: pd.DataFrame = _unpack_table(data).to_pandas()
    return frame


def _pack_pandas_series(series: pd.Series[Any]) -> tuple[int, bytes] | None:
    packed = _pack_pandas(series.to_frame("")) if isinstance(series.name, str | None) and not series.attrs else None
    return packed and (PANDAS_SERIES, _encode([series.name, packed[1]]))


def _unpack_pandas_series(data: memoryview) -> pd.Series[Any]:
    name, stream = _decode(data)
    return _unpack_pandas(memoryview(stream))[""].rename(name)


_PACKERS: dict[tuple[str, str], Any] = {
    ("polars", "DataFrame"): _pack_polars,
    ("polars", "Series"): _pack_polars_series,
    ("pandas", "DataFrame"): _pack_pandas,
    ("pandas", "Series"): _pack_pandas_series,
    ("pyarrow", "Table"): _pack_table,
    ("pyarrow", "RecordBatch"): _pack_batch,
}

_UNPACKERS: dict[int, Any] = {
    POLARS_FRAME: _polars_frame,
    POLARS_SERIES: lambda data: _polars_frame(data).to_series(),
    PANDAS_FRAME: _unpack_pandas,
    PANDAS_SERIES: _unpack_pandas_series,
    ARRAY: _unpack_array,
    ARRAY_SCALAR: _unpack_scalar,
    ARROW_TABLE: _unpack_table,
    ARROW_BATCH: _unpack_batch,
}
CODES = frozenset(_UNPACKERS)
