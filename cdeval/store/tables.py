"""Parquet and Arrow files to their rows, by pyarrow, which an extra brings."""

from typing import Any

# How these files begin: Parquet, Arrow's file (Feather is one), Arrow's stream as datasets writes it.
_PARQUET, _FILE, _STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"


def is_table(content: bytes) -> bool:
    """Whether a file's content is a table of one of the kinds that `rows_of` reads."""
    return content.startswith((_PARQUET, _FILE, _STREAM))


def rows_of(content: bytes, largest: int) -> list[dict[str, Any]]:
    """Read a table's rows, each as a mapping from columns to values in Python's types.

    Args: content: of the file. largest: bytes of the table in memory.
    Raises: ValueError: pyarrow is missing, the file is damaged, or its table is too large; says which.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(f"is a table, which pyarrow reads ({error}): pip install 'cdeval[parquet]'") from error
    source = pa.BufferReader(content)
    try:
        if content.startswith(_PARQUET):
            file = parquet.ParquetFile(source)
            groups = (file.metadata.row_group(place) for place in range(file.metadata.num_row_groups))
            size, read = sum(group.total_byte_size for group in groups), file.read
        else:
            open_ = pa.ipc.open_file if content.startswith(_FILE) else pa.ipc.open_stream
            size, read = len(content), open_(source).read_all
        table = read() if size <= largest else None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"is a damaged Parquet or Arrow file ({' '.join(str(error).split())[:200]})") from error
    if table is None or table.nbytes > largest:
        raise ValueError(f"holds a table of more than {largest >> 30} GiB: give it in several files")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
