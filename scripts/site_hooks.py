"""Hooks of mkdocs: generated pages join the written ones, and links out of docs/ lead to copies of what is there.

docs/ is read on a disk and in a repository, too, so its pages link to examples/, runs/README.md and the like. The site
has copies of those: Markdown as pages, anything else as files, all below repository/.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
COPIES = "repository"
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and a copy of every file outside docs/ that some page leads to."""
    sys.path.insert(0, str(ROOT))
    from scripts import reference  # noqa: PLC0415 - it imports cdeval, which the hooks' own module need not

    for name, text in reference.pages().items():
        files.append(File.generated(config, name, content=text))
    waiting = sorted(DOCS.glob("**/*.md"))
    seen = set(waiting)
    while waiting:
        for target in _targets(waiting.pop()):
            if target in seen:
                continue
            seen.add(target)
            if not target.is_relative_to(DOCS):
                copied = File.generated(config, place_of(target), abs_src_path=str(target))
                copied.inclusion = InclusionLevel.NOT_IN_NAV  # unless mkdocs.yml lists it
                files.append(copied)
            if target.suffix == ".md":
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links lead to where the site has what they name."""
    source = source_of(page.file.src_uri)
    if source is None:
        return markdown

    def moved(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        if not target.is_file():
            return match[0]  # mkdocs says that it leads nowhere
        way = os.path.relpath(place_of(target), PurePosixPath(page.file.src_uri).parent)
        return f"]({way}{match[2] or ''})"

    return _LINK.sub(moved, markdown)


def place_of(path: Path) -> str:
    """The place of a file of the repository in the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return f"{COPIES}/{path.relative_to(ROOT).as_posix()}"


def source_of(place: str) -> Path | None:
    """The file that a page of the site is a copy of; None: it is generated."""
    path = ROOT / place.removeprefix(f"{COPIES}/") if place.startswith(f"{COPIES}/") else DOCS / place
    return path if path.is_file() else None


def _targets(page: Path) -> Iterator[Path]:
    """The files of the repository that a page links to."""
    for match in _LINK.finditer(page.read_text("utf-8")):
        target = (page.parent / match[1]).resolve()
        if target.is_file() and target.is_relative_to(ROOT):
            yield target
