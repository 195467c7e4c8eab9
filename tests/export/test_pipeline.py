"""The export command: which settings can be exported, what the folder holds, and what is left alone."""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cdeval.config.commands import COMMANDS
from cdeval.config.enums import Context, SearchKind
from cdeval.config.exits import AdaptiveExitConfig
from cdeval.config.schema import AmateurConfig, ContrastConfig, RunConfig, SearchConfig
from cdeval.config.token_weight import Gate
from cdeval.errors import ConfigError
from cdeval.export.config import check_exportable

Told = Callable[..., str]

SEARCH = SearchConfig(SearchKind.greedy, beams=1)
REFUSED = {
    "contrastive search": (RunConfig(search=SearchConfig(SearchKind.contrastive_search)), "expected beam, greedy or"),
    "anybody's generate": (RunConfig(search=SearchConfig(SearchKind.hf)), "search=hf cannot be exported"),
    "the expert's exits": (
        RunConfig(search=replace(SEARCH, adaptive_exit=AdaptiveExitConfig(threshold=0.5))),
        "search.adaptive_exit cannot be exported",
    ),
    "code of a gate": (RunConfig(contrast=ContrastConfig(gate=Gate.callable)), "contrast.gate=callable cannot be"),
    "code of a plug-in": (RunConfig(plugins=["mine"]), r"plugins=\['mine'\] cannot be exported"),
    "a calibrated temperature": (RunConfig(contrast=ContrastConfig(temperature="calibrated")), "that a study found"),
    "a context apart": (
        RunConfig(amateur=AmateurConfig("context", context=Context.removed)),
        "amateur.context=removed cannot be exported",
    ),
    "a second model's context": (
        RunConfig(amateur=AmateurConfig("model", name="gpt2", context=Context.generated)),
        "a second model reads whole prompts there",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_generate_cannot_have_says_why(what: str) -> None:
    config, message = REFUSED[what]
    config.expert.name = "anybody"
    with pytest.raises(ConfigError, match=message):
        check_exportable(config)


TYPED = {
    "no folder": ("arm=greedy", "out has no value: give the folder that is to be written"),
    "counts": ("out=x arm=ngram", "amateur=ngram cannot be exported: it learns from the study's own texts"),
    "nothing there": ("out=x point=nowhere", "point=nowhere: expected the run folder of an arm of a study"),
    "a point and more": ("out=x point=nowhere amateur.layer=3", "leave point out, whose setting is exported whole"),
}


@pytest.mark.parametrize("what", TYPED)
def test_a_mistaken_command_says_why(what: str, refused: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line, message = TYPED[what]
    assert message in refused("export", line.split())
    assert not any(tmp_path.iterdir())


def test_an_arm_is_written_and_nothing_else_is_touched(
    typed: Told, refused: Told, tiny_gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arm = ["arm=truncated", f"expert.name={tiny_gpt2_folder}", "amateur.layer=0.5", "search.max_new_tokens=7"]
    printed = typed("export", [*arm, "out=mine"])
    assert "how to use it: mine/README.md" in printed
    code = ast.parse((tmp_path / "mine" / "custom_generate" / "generate.py").read_text())
    (pinned,) = [ast.literal_eval(node.value) for node in code.body if isinstance(node, ast.Assign)]
    assert pinned["amateur"]["kind"] == "truncated"
    assert pinned["amateur"]["layer"] == 6
    assert pinned["search"]["max_new_tokens"] == 7
    assert pinned["lens"] is None
    assert not (tmp_path / "mine" / "lens.safetensors").exists()
    assert "Apache License" in (tmp_path / "mine" / "LICENSE").read_text()
    assert "trust_remote_code=True" in (tmp_path / "mine" / "README.md").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    assert "out=other is there already, and is no export" in refused("export", [*arm, "out=other"])


def test_the_command_is_listed() -> None:
    assert "generate of transformers" in COMMANDS["export"]
