"""Settings as people type them: made into what Hydra reads, or answered with the line to type."""

import re
from pathlib import Path

import pytest

from cdeval.config.arguments import as_settings, named_files
from cdeval.errors import ConfigError

SETTINGS = {"expert.name", "amateur.name", "prompts.path"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--amateur.layer=20 --amateur.layer 20", "amateur.layer=20 amateur.layer=20"),
        ("-contrast.alpha 0.3 --prompts.seed -1", "contrast.alpha=0.3 prompts.seed=-1"),
        ("--search.max-new-tokens 64", "search.max_new_tokens=64"),
        ("--sweep layers", "+sweep=layers"),
        ("--sweep=layers,alpha", "+sweep=layers,alpha"),
        ("sweep=layers preset=smoke arm=a,b", "+sweep=layers +preset=smoke +arm=a,b"),
        ("+sweep=layers ++contrast.alpha=1 ~hydra", "+sweep=layers ++contrast.alpha=1 ~hydra"),
        ("seed=1 --cfg job --config-dir mine", "--cfg job --config-dir mine seed=1"),
        ("+arm=a,b -m seed=1", "-m +arm=a,b seed=1"),
        ("seed=1 --info plugins --config-dir=mine", "--info plugins --config-dir=mine seed=1"),
        ("--help", "--help"),
        ("prompts.path=a=b#c.jsonl study=é", "prompts.path=a=b#c.jsonl study=é"),
    ],
)
def test_dashes_and_bundles(typed: str, meant: str) -> None:
    assert as_settings(typed.split()) == meant.split()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["layers"], "'layers' is no setting: expected name=value, as amateur.layer=20. Type +sweep=layers."),
        (["amateur.layer", "20"], "Type amateur.layer=20."),
        (["amateur.layer", "=", "20"], "Type amateur.layer=20."),
        (["amateur.layer=", "20"], "Type amateur.layer=20."),
        (["metrics.only=[diversity,", "coherence]"], "Type 'metrics.only=[diversity, coherence]'."),
        (["prompt=The", "river", "had", "seed=1"], "Type 'prompt=The river had'."),
        (["seed", "3"], "Type seed=3."),
        (["distilgpt2"], "--help lists all settings."),
        (["--train"], "there is no argument --train. A setting has a value: type train=<value>."),
        (["--train", "seed=1"], "type train=<value>."),
        (["--multi-run"], "there is no argument --multi-run. Did you mean --multirun?"),
        (["--multirun=true"], "--multirun takes no value. Type --multirun."),
        (["--cfg"], "--cfg needs a value: type --cfg job."),
        (["--cfg", "seed=1"], "--cfg seed=1: expected one of job, hydra, all, as --cfg job."),
        (["--multirun", "--cfg", "job"], "--cfg and --multirun exclude each other: leave out all but one."),
        (["-m", "--info"], "--info and --multirun exclude each other"),
        (["--config-dir"], "--config-dir needs a value: type --config-dir <folder>."),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_cannot_be_meant_gets_the_line_to_type(typed: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        as_settings(typed)


def test_models_and_prompts_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my model").mkdir()
    (tmp_path / "my model" / "config.json").write_text("{}")
    (tmp_path / "own" / "amateur" / "nested").mkdir(parents=True)
    (tmp_path / "own" / "amateur" / "nested" / "mine.yaml").write_text("kind: none\n")

    def meant(*typed: str) -> list[str]:
        return list(named_files(typed, SETTINGS))

    assert meant("expert=gpt2-xl", "amateur=none", "prompts=wiki") == ["expert=gpt2-xl", "amateur=none", "prompts=wiki"]
    assert meant("expert=a/b-70m") == ["expert=hub", "expert.name=a/b-70m"]
    assert meant("expert=a/b,c/d") == ["expert=hub", "expert.name=a/b,c/d"]
    assert meant("expert=my model") == ["expert=hub", "expert.name=my model"]
    assert meant("expert=embedded:smollm2") == ["expert=hub", "expert.name=embedded:smollm2"]
    assert meant("amateur=~/é (1)") == ["amateur=model", "amateur.name=~/é (1)"]
    assert meant("prompts=a=1 #2.jsonl") == ["prompts=file", "prompts.path=a=1 #2.jsonl"]
    assert meant("expert={name:a/b}", "expert=nowhere") == ["expert={name:a/b}", "expert=nowhere"]
    assert meant("amateur=nested/mine")[1:] == ["amateur.name=nested/mine"]
    assert meant("--config-dir", "own", "amateur=nested/mine")[2:] == ["amateur=nested/mine"]
    assert list(named_files(["expert=a/b"], ())) == ["expert=a/b"], "a command without that setting says so itself"
