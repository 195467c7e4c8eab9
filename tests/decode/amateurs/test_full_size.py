"""What an expert can be to itself, on SmolLM2-135M in float32 and a real prompt, against full re-computation."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Context, Dtype, SearchKind
from cdeval.config.exits import Lens, Selection
from cdeval.config.plausibility import Plausibility
from cdeval.config.schema import ExpertConfig, PromptsConfig
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel, open_model
from cdeval.models.noise import with_noise
from cdeval.models.truncate import without_blocks
from cdeval.prompts.load import load_prompts
from tests.decode.amateurs.naive import AmateurLogits, last_logits, naive_text
from tests.decode.amateurs.test_masked_heads import loaded as masked
from tests.decode.amateurs.test_pruned import fewer_blocks, pruned
from tests.decode.amateurs.test_sled import direction
from tests.decode.oracles import setting

pytestmark = pytest.mark.nightly  # on tiny models in every run: the other files of this folder

LEFT_OUT = tuple(range(11, 21))
HEADS = ["10.3", "12.1", "20.9"]
RULE = Plausibility("top_k", (("top_k", 10),))


@pytest.fixture(scope="module")
def expert() -> LanguageModel:
    return open_model(ExpertConfig(name="embedded:smollm2", dtype=Dtype.float32)).load(packed=False)


@pytest.fixture(scope="module")
def prompt(expert: LanguageModel) -> tuple[int, ...]:
    (chosen,) = load_prompts(PromptsConfig(limit=1), expert.tokenizer, 128, seed=0).prompts
    return chosen.token_ids


def changed(lm: LanguageModel, change: Callable[[str, torch.Tensor], None]) -> LanguageModel:
    """A copy of the whole model, in whose blocks each matrix was changed."""
    model = copy.deepcopy(lm.model)
    for name, module in model.named_modules():
        if ".layers." in name and isinstance(module, nn.Linear):
            change(name, module.weight.data)
    return replace(lm, model=model)


def four_bits(_name: str, weight: torch.Tensor) -> None:
    step = weight.abs().amax(dim=1, keepdim=True) / 7
    weight.copy_((weight / step).round() * step)


def silenced(name: str, weight: torch.Tensor) -> None:
    """SmolLM2 has 9 heads, whose outputs are the columns of the projection that follows."""
    for head in HEADS:
        block, place = map(int, head.split("."))
        if name.endswith(f".layers.{block - 1}.self_attn.o_proj"):
            weight[:, (place - 1) * 64 : place * 64] = 0


@pytest.mark.parametrize("search", [{"search": SearchKind.greedy, "beams": 1}, {"beams": 2}], ids=["greedy", "beam"])
@pytest.mark.parametrize("kind", ["pruned", "noise", "masked_heads", "context", "sled"])
def test_a_text_is_the_naive_one(
    kind: str, search: dict[str, Any], expert: LanguageModel, prompt: tuple[int, ...]
) -> None:
    sled = Amateur("early_exit", lens=Lens.raw, selection=Selection.sled, layers=(5, 15, 25), sled_tokens=10)
    amateur, model, other = amateur_of(kind, expert, prompt) if kind != "sled" else (sled, expert, None)
    logits: AmateurLogits = other or direction(expert, prompt, sled)
    more = {"plausibility": RULE, "alpha": 1.0, "beta": 8.0} if kind == "sled" else {"alpha": 0.05, "temperature": 0.5}
    how = setting(amateur=amateur, max_new_tokens=4, **search, **more)
    lane = Lane(prompt, how, "p")
    (found,), _ = decode_batch(expert, [lane], 4, amateur_models={amateur: model})
    tokens, score = naive_text(expert, lane, logits)
    assert found.token_ids == tokens
    assert found.score == pytest.approx(score, abs=2e-2)


def amateur_of(kind: str, lm: LanguageModel, prompt: tuple[int, ...]) -> tuple[Amateur, LanguageModel, AmateurLogits]:
    """An amateur, what it is made of, and its logits by one full pass over the text so far."""
    if kind == "pruned":
        return pruned(*LEFT_OUT), without_blocks(lm, LEFT_OUT), fewer_blocks(lm, prompt, *LEFT_OUT)
    if kind == "noise":
        whole = changed(lm, four_bits)
        amateur = Amateur("noise", settings=(("bits", 4), ("dropout", 0.0)))
        return amateur, with_noise(lm, 4, 0.0, 0), lambda text: last_logits(whole, prompt + text)
    if kind == "masked_heads":
        whole = changed(lm, silenced)
        amateur = Amateur("masked_heads", settings=(("heads", tuple(HEADS)),))
        return amateur, masked(lm, HEADS), lambda text: last_logits(whole, prompt + text)
    return Amateur("context", context=Context.generated), lm, lambda text: last_logits(lm, prompt[-1:] + text)
