"""The house is counted and drawn from its imports: on a package small enough to count by hand."""

from pathlib import Path

import pytest

from scripts import architecture, house

SOURCES = {
    "__init__.py": "",
    "errors.py": "class Fault(Exception): ...\n",
    "store/__init__.py": "",
    "store/files.py": "from cdeval.errors import Fault\nclass Kept: ...\nclass _Own: ...\n",
    "decode.py": "from cdeval.store import files\nfrom cdeval.errors import Fault\nclass Kept: ...\nk = amateur.layer",
    "run.py": "def run():\n    from cdeval import decode\n    import cdeval.store\n    print('self_bleu, a metric')\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / "cdeval" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_house_is_counted(checkout: Path) -> None:
    counted = house.measure(checkout, run=False)
    assert counted["modules"] == "3"
    assert counted["rooms"] == "4"
    assert counted["floors"] == "4: run → decode → store → errors"
    assert counted["layer"] == "1"
    assert counted["new_metric"] == "0", "a sentence that mentions a metric does not know it"
    assert counted["shared"] == "1: Kept"
    assert counted["code"] == "7", "a class a line, a constant, a function and its print"
    assert counted["lines"] == str(sum(len(text.splitlines()) for text in SOURCES.values()))


def test_an_import_that_others_stand_for_is_not_drawn(checkout: Path) -> None:
    graph = house.rooms(checkout / "cdeval")
    assert graph["decode"] == {"errors", "store"}
    assert architecture.direct(graph) == [("decode", "store"), ("run", "decode"), ("store", "errors")]
    heights = {room: y for room, (_, y) in architecture.places(graph).items()}
    assert heights["run"] < heights["decode"] < heights["store"] < heights["errors"]


def test_the_picture_is_what_the_imports_say() -> None:
    drawn = architecture.picture(house.rooms(house.ROOT / "cdeval"))
    assert architecture.PICTURE.read_text("utf-8") == drawn, "run python scripts/architecture.py"
