"""Texts of people stand beside other texts of the same documents."""

from cdeval.records import Prompt
from scripts.human_against_human import pairs


def test_windows_are_paired_within_their_document_and_first_pairs_come_first() -> None:
    ids = ["a", "a.window-2", "a.window-3", "a.window-4", "b", "b.window-2", "b.window-3", "c"]
    prompts = [Prompt(one, f"prompt {one}", (1,), f"text {one}", (2,)) for one in ids]
    found = pairs(prompts, 5)
    assert [(row["id"], row["continuation"], row["reference"]) for row in found] == [
        ("a", "text a", "text a.window-2"),
        ("b", "text b", "text b.window-2"),
        ("a.window-3", "text a.window-3", "text a.window-4"),
    ]
    assert [row["prompt"] for row in pairs(prompts, 2)] == ["prompt a", "prompt b"]
