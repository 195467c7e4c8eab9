"""The expert without some heads, against a model whose output projections lack their columns."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest
from torch import nn

from cdeval.config.amateur import Amateur
from cdeval.config.enums import PromptSource
from cdeval.config.schema import AmateurConfig, ExpertConfig, PromptsConfig, RunConfig
from cdeval.cost.price import PricedArm, PricedText, price_arms
from cdeval.decode.amateurs.masked_heads import MaskedExpert, MaskedHeads
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.errors import PromptError
from cdeval.models.anatomy import anatomy_of
from cdeval.models.loading import LanguageModel
from cdeval.prompts.load import PromptSet
from cdeval.records import Prompt
from tests.decode.amateurs.naive import PROMPTS, check_texts, last_logits, settings_of
from tests.decode.oracles import early_exit, setting

HEADS = ["1.2", "3.1", "3.4"]
AMATEUR = Amateur("masked_heads", settings=(("heads", tuple(HEADS)),))


def loaded(lm: LanguageModel, heads: list[str]) -> MaskedExpert:
    config = RunConfig(ExpertConfig(name="x"), AmateurConfig(kind="masked_heads", heads=heads))
    return MaskedHeads().load(None, config, lm, PromptSet((), "", 0, 0, 0, 0, None, 0, 0))


def without_columns(lm: LanguageModel) -> LanguageModel:
    """A copy of the whole model."""
    model = copy.deepcopy(lm.model)
    path = anatomy_of(model.config, lm.name)
    blocks = attrgetter(f"{path.base}.{path.blocks}")(model)
    for head in HEADS:
        block, place = map(int, head.split("."))
        module = attrgetter(path.attention_out)(blocks[block - 1])
        columns = module.weight.data if isinstance(module, nn.Linear) else module.weight.data.T
        width = columns.shape[1] // 4
        columns[:, (place - 1) * width : place * width] = 0
    return replace(lm, model=model)


def test_a_text_is_the_naive_one(any_tiny: LanguageModel) -> None:
    whole = without_columns(any_tiny)
    check_texts(
        any_tiny,
        loaded(any_tiny, HEADS),
        lambda prompt: lambda text: last_logits(whole, prompt + text),
        *settings_of(AMATEUR),
    )


def test_the_expert_and_its_exits_keep_their_heads(tiny: Callable[[str], LanguageModel]) -> None:
    """The blocks are shared: what else is decoded in the same passes must not notice."""
    lm = tiny("llama")
    hows = [setting(amateur=AMATEUR), setting(), early_exit(2)]
    lanes = [Lane(prompt, how) for prompt in PROMPTS for how in hows]
    models = {AMATEUR: loaded(lm, HEADS)}
    together, _ = decode_batch(lm, lanes, 4, amateur_models=models)
    for lane, found in zip(lanes, together, strict=True):
        (alone,), _ = decode_batch(lm, [lane], 4, amateur_models=models)
        assert found.token_ids == alone.token_ids


def test_heads_are_known_and_cost_nothing_less(tiny: Callable[[str], LanguageModel]) -> None:
    """Other heads are other texts: they are in the fingerprint and in the name."""
    lm = tiny("llama")
    model = loaded(lm, ["3.4", "1.2"])
    assert model.name == "tiny llama without heads 1.2,3.4"
    assert model.fingerprint != loaded(lm, ["1.2"]).fingerprint
    hows = {"masked": setting(amateur=AMATEUR, max_new_tokens=9), "alone": setting(max_new_tokens=9)}
    arms = {label: PricedArm(how, [PricedText(5, 9)]) for label, how in hows.items()}
    found = price_arms(lm, arms, amateur_models={AMATEUR: model})
    assert found["masked"]["amateur_flops"] == found["alone"]["total_flops"]
    assert found["masked"]["weights_bytes"] == found["alone"]["weights_bytes"]


def test_heads_that_are_not_given_are_found(tiny: Callable[[str], LanguageModel], tmp_path: Path) -> None:
    lm, path = tiny("gpt2"), tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": "The quick brown fox runs into the old river. " * 6}) for _ in "abc"))
    config = RunConfig(
        ExpertConfig(name="x"),
        AmateurConfig(kind="masked_heads", retrieval_heads=3),
        prompts=PromptsConfig(PromptSource.file, path=str(path), prompt_tokens=4),
    )
    prompts = PromptSet((Prompt("file-0001", "The", (5,), None, None),), "", 3, 0, 0, 3, None, 0, 0)
    first, again = (MaskedHeads().load(None, config, lm, prompts).heads for _ in range(2))
    assert first == again
    assert len(set(first)) == 3
    path.write_text('{"text": "The quick"}\n{"text": "The fox"}')
    with pytest.raises(PromptError, match=r"give amateur\.heads"):
        MaskedHeads().load(None, config, lm, prompts)
