"""Which texts a lens is trained and measured on: those that were asked for."""

import json
from pathlib import Path

import pytest

from cdeval.calibrate.config import CalibrateRun
from cdeval.config.enums import PromptSource, Split
from cdeval.config.schema import BothSplits
from cdeval.config.unread import changed, check_read
from cdeval.errors import ConfigError
from cdeval.lens.config import LensPrompts, LensRun
from cdeval.lens.pipeline import _texts, held_out_texts
from cdeval.prompts.cut import in_split


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join(json.dumps({"id": f"text-{i}", "text": f"Text {i}."}) for i in range(60)))
    return str(file)


def lens(path: str, limit: int | None = None, seed: int = 0) -> LensRun:
    prompts = LensPrompts(source=PromptSource.file, path=path, split=Split.tune, limit=limit)
    return LensRun(prompts=prompts, seed=seed)


def test_so_many_texts_of_each_split_as_were_asked_for(path: str) -> None:
    """Kills: prompts.limit, which was read past."""
    everything = {split: [f"text-{i}" for i in range(60) if in_split(f"text-{i}", split)] for split in Split}
    for split in (Split.tune, Split.test):
        chosen = [[text.id for text in _texts(lens(path, limit), split)] for limit in (3, 6, None, 1000)]
        assert [len(ids) for ids in chosen[:2]] == [3, 6]
        assert set(chosen[0]) < set(chosen[1]), "a choice of 6 contains the choice of 3"
        assert chosen[1] == [identifier for identifier in everything[split] if identifier in chosen[1]]
        assert chosen[2] == chosen[3] == everything[split]
    few = [[text.id for text in held_out_texts(lens(path, 6, seed))] for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]


def test_what_is_not_cut_has_no_length_of_prompts() -> None:
    config = LensRun(prompts=LensPrompts(prompt_tokens=64))
    with pytest.raises(ConfigError, match=r"prompts\.prompt_tokens=64 is not read.*give text_tokens="):
        check_read([(config, changed(config))])


def test_the_items_of_a_file_have_splits_where_both_are_read(path: str) -> None:
    """Kills: "prompts.split=test is not read with prompts=file", of commands that split a file by its ids."""
    prompts = {"source": PromptSource.file, "path": path, "split": Split.test}
    for config in (LensRun(prompts=LensPrompts(**prompts)), CalibrateRun(prompts=BothSplits(**prompts))):
        check_read([(config, changed(config))])
