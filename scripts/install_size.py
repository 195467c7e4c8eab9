"""The size of an installation without extras and with some, counted in an environment that has all of them.

Counts the files of what pyproject.toml requires, and of what that requires, as they lie in this environment.
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
COLUMNS = "{:24} {:>9} {:>9}"


def plain(name: str) -> str:
    """A distribution's name as all spellings of it are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(requirements: list[str]) -> set[str]:
    """The names of installed distributions that requirements lead to, by all steps."""
    installed = {plain(one.metadata["Name"]): one for one in metadata.distributions()}
    seen: set[tuple[str, str]] = set()
    left = [(Requirement(one), "") for one in requirements]
    while left:
        wanted, extra = left.pop()
        name = plain(wanted.name)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        for part in ["", *wanted.extras]:
            if name in installed and (name, part) not in seen:
                seen.add((name, part))
                left += [(Requirement(one), part) for one in installed[name].requires or []]
    return {name for name, _ in seen}


def size(names: set[str]) -> int:
    """Bytes of all files of distributions."""
    files = [Path(str(file.locate())) for name in names for file in metadata.files(name) or []]
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    extras = PROJECT["optional-dependencies"]
    full = [one for name in ("datasets", "evaluate", "mauve", "parquet", "self-bleu") for one in extras[name]]
    sys.stdout.write(COLUMNS.format("", "packages", "MB") + "\n")
    for label, more in (("without extras", []), ("with the extra [full]", full)):
        names = required(PROJECT["dependencies"] + more)
        sys.stdout.write(COLUMNS.format(label, len(names), round(size(names) / 1e6)) + "\n")
