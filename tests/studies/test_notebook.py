"""The notebook runs from its first cell to its last on a new kernel, and shows what it promises."""

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel (.[notebook])")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel (.[notebook])")

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "quickstart.ipynb"


def shown(cell: Any) -> str:
    return "".join(output.get("text", "") + str(output.get("data", "")) for output in cell.get("outputs", []))


@pytest.mark.recipe
def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs, which would go stale"
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    decoded, scored, traced, picture = (shown(cell) for cell in code[1:])
    alone, contrasted = decoded.split("exit 24:")
    assert alone.removeprefix("expert alone:").strip() != contrasted.strip()
    assert "diversity" in scored
    assert "✱" in traced
    assert "plausible on average" in traced
    assert "image/png" in picture
    assert list(tmp_path.iterdir()) == [], "a notebook leaves nothing where it is opened"
