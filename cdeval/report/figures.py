"""A study's pictures as files, drawn where they are not there already: drawing takes most of a report's time."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

from cdeval.report.charts import Chart
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import to_page

_METADATA = 4096  # bytes in which a file's metadata are found


def draw_files(chart: Chart, folder: Path) -> None:
    """Write a chart's PNG and SVG into a folder, unless they lie there already, drawn of the same by the same code.

    Raises: StorageError: the disk refuses.
    """
    source = hashlib.sha256(to_page(chart) + _drawn_by()).hexdigest()
    paths = {suffix: folder / f"{chart.name}.{suffix}" for suffix in ("png", "svg")}
    if all(_says(path, source) for path in paths.values()):
        return
    from cdeval.report.stills import picture  # noqa: PLC0415 - matplotlib takes the better part of a second

    for suffix, data in picture([chart], source=source).items():
        replace_file(paths[suffix], data)


@cache
def _drawn_by() -> bytes:
    """The code that draws: matplotlib by its release, ours as it is written."""
    return version("matplotlib").encode() + (Path(__file__).parent / "stills.py").read_bytes()


def _says(path: Path, source: str) -> bool:
    """Whether a picture names what it was drawn of, in its first bytes, where its metadata are."""
    try:
        with path.open("rb") as file:
            return source.encode() in file.read(_METADATA)
    except OSError:
        return False
