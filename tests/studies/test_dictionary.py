"""runs/README.md names every file that a command writes; the names are read off the source, so none is forgotten."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What commands read and do not write: models' own files, and a page of conf/.
READ = {"modules.json", "config.json", "vocabulary.json", "trace.yaml"}
ELSEWHERE = {"assets", "config", "models"}  # rooms that write nothing into runs/: their names are of models and caches
NAME = re.compile(r"\.?\w[\w.-]*\.(json|jsonl|yaml|npz|csv|parquet|tex|md|html|png|svg|lock|txt|safetensors)")


def named_in(path: Path) -> Iterator[str]:
    """Every text in a module that is a file's name, but for those of its docstrings."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            yield node.value


def test_every_file_that_is_written_is_in_the_dictionary() -> None:
    modules = (ROOT / "cdeval").rglob("*.py")
    rooms = [path for path in modules if path.relative_to(ROOT / "cdeval").parts[0] not in ELSEWHERE]
    names = {name for path in rooms for name in named_in(path)}
    assert len(names) > 30
    assert names >= READ, "a name that is no longer in the source"
    page = (ROOT / "runs" / "README.md").read_text("utf-8")
    assert sorted(name for name in names - READ if f"{name}`" not in page) == []
