"""The generated pages of the reference: every setting of every command stands there, and says what it is."""

import re
from enum import Enum

import pytest

from cdeval.config.fields import leaves
from cdeval.config.paths import CONF
from cdeval.metrics.registry import all_metrics
from scripts import reference


def test_every_command_has_a_page_with_all_of_its_settings() -> None:
    assert set(reference.ROOTS) == {path.stem for path in CONF.glob("*.yaml")}
    assert set(reference.GROUPS) == {name.split(".")[0] for name in leaves(reference.RunConfig) if "." in name}
    page = reference.command_page("trace")
    own = [name for name in leaves(reference.TraceRun) if name.split(".")[0] not in reference.GROUPS]
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == own
    assert "[search](../settings/search.md); usual here: `search.max_new_tokens=64`" in page


@pytest.mark.parametrize("command", reference.ROOTS)
def test_every_setting_says_what_it_is(command: str) -> None:
    root = reference.ROOTS[command]
    found = leaves(root)
    bare = {
        name
        for name, said in reference.described(root)
        if not said.strip() and not isinstance(found[name].default, Enum)
    }
    assert not bare, "a comment above or behind the field, or the docstring of its choices, says what it is"


def test_a_groups_page_has_range_condition_choices_and_files() -> None:
    page = reference.group_page("contrast")
    (row,) = [line for line in page.splitlines() if line.startswith("| `contrast.alpha`")]
    assert "`0.3`" in row
    assert "a number in (0, 1]" in row
    assert "Plausibility: p_expert >= alpha * max p_expert" in row
    assert "add amateur=early_exit" in row
    assert "## Form" in page
    assert '??? note "contrast=default"' in page


def test_every_metric_and_method_is_named() -> None:
    text = reference.metrics_page()
    assert all(f"| `{metric.name}` |" in text for metric in all_metrics())
    text = reference.methods_page()
    assert all(f"### `amateur={name}`" in text for name in ("early_exit", "ngram"))
    columns = reference.columns_page()
    assert "| `amateur.layer` | Blocks before the exit" in columns
    assert "|  |" not in columns, "no column is without a meaning"


def test_every_page_of_docs_has_a_place_in_the_site() -> None:
    """`mkdocs build --strict` fails otherwise; this says so sooner."""
    root = CONF.parent
    listed = set(re.findall(r": ([\w/.-]+\.md)$", (root / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    assert {path.name for path in (root / "docs").glob("*.md")} <= listed
    outside = {name.removeprefix("repository/") for name in listed if name.startswith("repository/")}
    assert all((root / name).is_file() for name in outside)
    assert {name for name in listed if name.startswith("reference/")} == set(reference.pages())
