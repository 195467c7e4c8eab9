"""Every recipe in examples/ does what its page shows, typed exactly as the page shows it."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.commands import typed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PAGES = sorted(EXAMPLES.glob("*/README.md"))


def commands(page: Path) -> list[list[str]]:
    """The words of every command in the page's blocks of shell."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.recipe
@pytest.mark.parametrize("page", PAGES, ids=[page.parent.name for page in PAGES])
def test_a_recipe_does_what_its_page_shows(page: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    lines = commands(page)
    assert lines, "a recipe shows at least one command"
    for python, *words in lines:
        assert python == "python", f"a recipe types python, not {python}"
        module, *arguments = words[1:] if words[0] == "-m" else words
        done = typed(module, arguments, tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip(), "a command shows what it did"


def test_a_page_names_what_lies_beside_it() -> None:
    assert {page.parent.name for page in PAGES} >= {
        "amateur",
        "architecture",
        "generate",
        "metric",
        "plausibility",
        "prompts",
        "search",
    }
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert target.startswith("https:") or (page.parent / target).exists(), f"{page}: {target}"
