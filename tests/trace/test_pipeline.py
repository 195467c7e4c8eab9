"""The trace command: its page, its files and its refusals; `tests/decode/test_trace.py` checks the numbers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cdeval.decode.trace import trace_text
from cdeval.models.loading import LanguageModel
from cdeval.records import Prompt, Trace
from cdeval.trace.page import summary, to_html
from tests.decode.oracles import early_exit

PROMPT = Prompt("p", "five tokens", (5, 17, 40, 8, 77), None, None)
Tiny = Callable[[str], LanguageModel]


def test_what_is_outside_the_plausible_set_says_so(tiny: Tiny) -> None:
    found = trace_text(tiny("llama"), PROMPT, early_exit(2, alpha=0.3), candidates=20)
    assert "implausible" in to_html(found)


def test_the_page_escapes_every_text(tiny: Tiny) -> None:
    found = trace_text(tiny("llama"), replace(PROMPT, text="<script>alert(1)</script>"), early_exit(2))
    evil = replace(found.steps[0].chosen, text="</style><img src=x>")
    page = to_html(replace(found, steps=(replace(found.steps[0], chosen=evil), *found.steps[1:])))
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_an_empty_text_has_a_page(tiny: Tiny) -> None:
    found = trace_text(tiny("llama"), PROMPT, early_exit(2))
    empty = Trace(found.label, found.expert, "p", "", 0.0, 0.0, ())
    assert summary(empty) == "The text is empty."
    assert to_html(empty)


def test_the_command(typed: Callable[..., str], tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path) -> None:
    common = [f"expert.name={tiny_gpt2_folder}", "amateur.lens=norm", "amateur.layer=0.5", f"runs={tmp_path}"]
    common += ["search.max_new_tokens=6"]
    printed = typed("trace", ["prompt=The quick brown", *common])
    assert "expert's favourite" in printed
    page = tmp_path / "trace" / "The-quick-brown.html"
    record = json.loads(page.with_suffix(".json").read_text())
    assert len(record["steps"]) == 6
    assert record["prompt"] == "The quick brown"
    typed("trace", ["id=text-1", "prompts=file", f"prompts.path={prompts_file}", "prompts.prompt_tokens=8", *common])
    assert json.loads((tmp_path / "trace" / "text-1.json").read_text())["prompt"].startswith("Researchers")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either prompt="),
        (["prompt=a", "id=b"], "give either prompt="),
        (["id=text-9", "prompts=file", "amateur.layer=6"], "no such prompt"),
        (["prompt=a", "search=contrastive_search", "amateur=none"], "cannot be traced"),
        (["prompt=a", "candidates=0"], "candidates=0 is out of range"),
        (["prompt=a", "out=x.txt"], "ends with .html"),
        (["prompt=a", "amateur.layer=40"], "layer=40"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str],
    message: str,
    refused: Callable[..., str],
    tiny_gpt2_folder: Path,
    prompts_file: Path,
) -> None:
    prompts = [f"prompts.path={prompts_file}", "prompts.prompt_tokens=8"]
    more = [*([] if "prompt=a" in arguments else prompts), "search.max_new_tokens=4"]  # a given prompt reads none
    assert message in refused("trace", [f"expert.name={tiny_gpt2_folder}", *arguments, *more])
