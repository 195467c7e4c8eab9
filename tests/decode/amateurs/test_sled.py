"""SLED against its definition, token by token and layer by layer, in every search."""

import math
from collections.abc import Callable

import pytest
import torch

from cdeval.config.amateur import Amateur
from cdeval.config.exits import Lens, Selection
from cdeval.config.plausibility import Plausibility
from cdeval.config.setting import Setting
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel
from tests.decode.amateurs.naive import PROMPTS, check_texts, naive_text, settings_of
from tests.decode.oracles import blocks_and_logits, exit_logits

RULE = Plausibility("top_k", (("top_k", 6),))


def sled(layers: tuple[int, ...] = (1, 2, 3), tokens: int = 6) -> Amateur:
    return Amateur("early_exit", lens=Lens.raw, selection=Selection.sled, layers=layers, sled_tokens=tokens)


def shares(lm: LanguageModel, ids: tuple[int, ...], amateur: Amateur) -> tuple[torch.Tensor, torch.Tensor]:
    """The expert's logits, and what the layers say together, by the definition in float64."""
    blocks, logits = blocks_and_logits(lm, ids)
    z = logits.double()
    top = z.topk(amateur.sled_tokens or 0).indices.tolist()
    weights = torch.zeros_like(z)
    for layer in amateur.layers:
        other = exit_logits(lm, blocks[layer - 1], amateur.lens).double()
        p, d = other.softmax(-1), other - z
        for token in top:
            away = p.clone()
            away[token] -= 1
            cosine = float(away @ d / (away.norm() * d.norm()))
            weights[token] += max(0.0, cosine) ** 2
    return z, weights / weights.sum() if float(weights.sum()) else weights


def direction(
    lm: LanguageModel, prompt: tuple[int, ...], amateur: Amateur
) -> Callable[[tuple[int, ...]], torch.Tensor]:
    def logits(text: tuple[int, ...]) -> torch.Tensor:
        z, latent = shares(lm, prompt + text, amateur)
        return (z.softmax(-1) - latent).float()

    return logits


def settings(amateur: Amateur) -> list[Setting]:
    return settings_of(amateur, temperature=1.0, beta=8.0, plausibility=RULE, alpha=1.0)


def test_a_text_is_the_naive_one(any_tiny: LanguageModel) -> None:
    amateur = sled()
    check_texts(any_tiny, any_tiny, lambda prompt: direction(any_tiny, prompt, amateur), *settings(amateur))


@torch.inference_mode()
def test_the_likeliest_token_is_that_of_the_moved_logits(tiny: Callable[[str], LanguageModel]) -> None:
    """As the authors write it: z - rate (p - P) on the k likeliest tokens, a low bound elsewhere."""
    lm, amateur = tiny("llama"), sled()
    greedy = settings(amateur)[1]
    for prompt in PROMPTS:
        (found,), _ = decode_batch(lm, [Lane(prompt, greedy)], 4)
        text = prompt
        for token in found.token_ids:
            z, latent = shares(lm, text, amateur)
            moved = torch.full_like(z, -1000.0)
            top = z.topk(20).indices[[one not in (0, 1, 126, 127) for one in z.topk(20).indices.tolist()]][:6]
            moved[top] = (z - 8.0 * (z.softmax(-1) - latent))[top]
            assert int(moved.argmax()) == token
            text = (*text, token)


def test_lanes_with_fewer_layers_and_tokens_count_none_twice(tiny: Callable[[str], LanguageModel]) -> None:
    """Candidates of other lanes beside them are more, and so are their likeliest tokens."""
    lm = tiny("gpt2")
    lanes = [Lane(PROMPTS[0], settings(one)[0]) for one in (sled(), sled((1, 3), 2), sled((2, 3), 9))]
    together, _ = decode_batch(lm, lanes, 4)
    for lane, found in zip(lanes, together, strict=True):
        (alone,), _ = decode_batch(lm, [lane], 4)
        assert found.token_ids == alone.token_ids
        assert found.score == pytest.approx(alone.score, abs=1e-3)
        assert math.isfinite(found.score)


def test_every_architecture_reads_its_layers(every_tiny: LanguageModel) -> None:
    """The head alone reads them: what a model puts between its blocks and its head differs."""
    amateur = sled()
    greedy = settings(amateur)[1]
    lane = Lane(PROMPTS[0], greedy)
    (found,), _ = decode_batch(every_tiny, [lane], 4)
    assert found.token_ids == naive_text(every_tiny, lane, direction(every_tiny, lane.prompt, amateur))[0]
