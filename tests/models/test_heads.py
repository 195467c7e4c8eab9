"""Heads that retrieve, against loops over what transformers returns, and against a head made to retrieve."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.models.heads import Head, likeliest_heads, retrieval_scores, without_heads
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.packing import can_pack, pack
from tests.conftest import build_model

PASSAGES = torch.tensor([[5, 17, 40, 8, 77, 90, 3], [61, 20, 33, 34, 35, 36, 37], [9, 8, 7, 6, 5, 4, 3]])


def by_hand(lm: LanguageModel, leading: tuple[int, ...]) -> list[list[float]]:
    """One passage, head and token at a time."""
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("eager")
    shares = [[0.0] * 4 for _ in range(4)]
    try:
        for passage in PASSAGES.tolist():
            ids = [*leading, *passage, *passage]
            attentions = lm.model(torch.tensor([ids]), output_attentions=True).attentions
            for block in range(4):
                for head in range(4):
                    for place in range(len(leading) + 7, len(ids) - 1):
                        seen = attentions[block][0, head, place]
                        shares[block][head] += int(seen.argmax()) == place - 7 + 1
    finally:
        lm.model.set_attn_implementation(before)
    return [[share / 18 for share in row] for row in shares]


@pytest.mark.parametrize("leading", [(), (0,)])
def test_scores_are_counted_by_their_definition(any_tiny: LanguageModel, leading: tuple[int, ...]) -> None:
    before = any_tiny.model.config._attn_implementation
    found = retrieval_scores(any_tiny, PASSAGES, leading)
    assert any_tiny.model.config._attn_implementation == before
    torch.testing.assert_close(found, torch.tensor(by_hand(any_tiny, leading)))
    assert float(found.max()) > 0


def test_the_best_heads_and_ties() -> None:
    scores = torch.tensor([[0.5, 0.1], [0.5, 0.9]])
    assert list(map(str, likeliest_heads(scores, 3))) == ["2.2", "1.1", "2.1"]


def test_silenced_heads_are_the_copys_alone(every_tiny: LanguageModel) -> None:
    """Every architecture has its output projection where its anatomy says, and it is as wide as all heads together."""
    ids, silent = torch.tensor([[5, 17, 40]]), without_heads(every_tiny, [Head(2, 1), Head(2, 3)])
    with torch.inference_mode():
        before, after = (lm.parts.base(ids).last_hidden_state for lm in (every_tiny, silent))
        assert not torch.equal(after, before)
        assert torch.equal(every_tiny.parts.base(ids).last_hidden_state, before)
    assert {id(one) for one in silent.parts.base.parameters()} == {
        id(one) for one in every_tiny.parts.base.parameters()
    }, "the weights are shared"


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_heads_are_silent_of_weights_that_are_packed_later(
    architecture: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    """A study packs the expert when all amateurs have read its weights; what is left in their place is no number."""
    plain, later = (build_model(architecture) for _ in range(2))
    if not can_pack(later):
        pytest.skip("no oneDNN operators in torch")
    ids = torch.tensor([[3, 4, 5, 60]])
    read = []
    for model in (plain, later):
        silenced = without_heads(language_model(model, tokenizer, "tiny"), [Head(1, 2)])
        if model is later:
            pack(model)
        with torch.inference_mode():
            read.append(silenced.parts.base(input_ids=ids).last_hidden_state)
    torch.testing.assert_close(read[1], read[0], rtol=1e-4, atol=1e-4)
