"""What a release says of itself is one thing, wherever it says it."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from packaging.specifiers import SpecifierSet

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


def test_pip_of_any_age_finds_every_extra() -> None:
    """pip before 23.3 does not find an extra whose name has an underscore: it warns, and installs nothing."""
    for extra in PROJECT["project"]["optional-dependencies"]:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", extra), extra


def test_every_pin_runs_on_the_oldest_python() -> None:
    """Debian 12 has 3.11.2, where a pin that asks for more cannot be installed. What is installed can be asked."""
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=") + ".0"
    asked = 0
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE):
        try:
            wants = metadata.metadata(name).get("Requires-Python")
        except metadata.PackageNotFoundError:
            continue
        asked += 1
        assert wants is None or SpecifierSet(wants).contains(oldest), f"{name} asks for Python {wants}"
    assert asked > 50
