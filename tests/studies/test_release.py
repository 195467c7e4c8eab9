"""What a release says of itself is one thing, wherever it says it."""

import re
import tomllib
from pathlib import Path

import yaml

import cdeval

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert {PROJECT["project"]["version"], str(citation["version"]), newest[1]} == {cdeval.__version__}
    assert str(citation["date-released"]) == newest[2]
    assert citation["license"] == PROJECT["project"]["license"]


def test_everything_that_ships_is_there_and_links_lead_somewhere() -> None:
    for name in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert (ROOT / name).exists(), name
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "runs" / "README.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_extra_is_pinned() -> None:
    """`pip install -c constraints.txt -e ".[…]"` must not bring what nobody has tested."""
    constraints = (ROOT / "constraints.txt").read_text("utf-8").lower().replace("_", "-")
    wanted = [*PROJECT["project"]["dependencies"]]
    wanted += [one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra]
    for requirement in wanted:
        name, *of_ours = re.split(r"[<>=\[\], ]", requirement.lower().replace("_", "-"))
        if name == "cdeval":
            assert set(filter(None, of_ours)) <= set(PROJECT["project"]["optional-dependencies"]), requirement
            continue
        assert f"\n{name}==" in constraints, name
