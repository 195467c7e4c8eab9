"""The engine on real weights and real text, in float32: the embedded experts continuing news articles."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest
import torch
from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Dtype, SearchKind
from cdeval.config.schema import ExpertConfig, PromptsConfig
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.batches import decode
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel, open_model
from cdeval.models.truncate import truncate
from cdeval.models.vocabulary import banned_tokens
from cdeval.prompts.load import load_prompts
from tests.decode.oracles import early_exit, naive_search, setting


@pytest.fixture(scope="module", params=["smollm2", pytest.param("gemma3", marks=pytest.mark.nightly)])
def asked(request: pytest.FixtureRequest) -> ExpertConfig:
    """SmolLM2 in every run; Gemma 3, whose vocabulary takes its time, nightly."""
    return ExpertConfig(name=f"embedded:{request.param}", dtype=Dtype.float32)


@pytest.fixture(scope="module")
def expert(asked: ExpertConfig) -> LanguageModel:
    return open_model(asked).load()


@pytest.fixture(scope="module")
def plain(asked: ExpertConfig) -> LanguageModel:
    """The same weights as Hugging Face lays them out."""
    return open_model(asked).load(packed=False)


def exit_of(expert: LanguageModel, share: float) -> int:
    """The block after that share of the blocks: of .87 the 26th of SmolLM2's 30, the 16th of Gemma's 18."""
    return round(share * expert.parts.depth)


@pytest.fixture(scope="module")
def prompts(expert: LanguageModel) -> list[tuple[int, ...]]:
    chosen = load_prompts(PromptsConfig(limit=8), expert.tokenizer, 128, seed=0)
    return [prompt.token_ids for prompt in chosen.prompts]


def texts(
    expert: LanguageModel, lanes: Sequence[Lane], amateur_models: Mapping[Amateur, AmateurModel] = MappingProxyType({})
) -> list[tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for batch in decode(expert, lanes, max_lanes=64, compact_every=8, amateur_models=amateur_models):
        found.update(zip(batch.lanes, (answer.token_ids for answer in batch.continuations), strict=True))
    return [found[i] for i in range(len(lanes))]


@pytest.mark.long
@pytest.mark.parametrize("ban", [Ban.special, pytest.param(Ban.eos, marks=pytest.mark.nightly)])
def test_plain_beam_search_is_hugging_faces(
    expert: LanguageModel, plain: LanguageModel, prompts: list[tuple[int, ...]], ban: Ban
) -> None:
    """16 tokens, 5 beams, 2 prompts; Hugging Face one prompt at a time, with the same tokens banned."""
    how = setting(max_new_tokens=16, ban=ban)
    ours = texts(expert, [Lane(prompt, how) for prompt in prompts[:2]])
    others = list(set(banned_tokens(ban, expert.model, expert.tokenizer)) - {expert.tokenizer.eos_token_id})
    processors = LogitsProcessorList([SuppressTokensLogitsProcessor(others, device="cpu")] if others else [])
    for prompt, tokens in zip(prompts[:2], ours, strict=True):
        ids = torch.tensor([prompt])
        generated = plain.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=5,
            do_sample=False,
            length_penalty=0.0,
            min_new_tokens=16,
            max_new_tokens=16,
            logits_processor=processors,
        )
        assert tokens == tuple(generated[0, len(prompt) :].tolist())


@pytest.mark.long
@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_the_seeds_contrastive_search_is_the_naive_one(
    expert: LanguageModel, prompts: list[tuple[int, ...]], count: int
) -> None:
    """alpha 0.1, T 0.5, beta 1, softmax form, against a full forward pass for every beam at every step."""
    how = early_exit(exit_of(expert, 0.87), alpha=0.1, beta=1.0, temperature=0.5, max_new_tokens=6)
    ours = texts(expert, [Lane(prompt, how) for prompt in prompts[:count]])
    assert ours == [naive_search(expert, prompt, how)[0] for prompt in prompts[:count]]


@pytest.mark.long
def test_news_is_likely(plain: LanguageModel, prompts: list[tuple[int, ...]]) -> None:
    """SmolLM2: 4.6 nats a token, Gemma: 3.5, but 9 without BOS, as where norms or embeddings are read wrongly."""
    losses = [plain.model(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item() for ids in prompts]
    assert 2 < sum(losses) / len(losses) < 5


@pytest.mark.nightly  # on tiny models in every run: tests/decode/test_engine.py
def test_three_prompts_times_three_settings_equal_nine_single_runs(
    expert: LanguageModel, prompts: list[tuple[int, ...]]
) -> None:
    settings = [
        early_exit(exit_of(expert, 0.87), max_new_tokens=8),
        early_exit(exit_of(expert, 0.67), alpha=0.3, beta=0.5, temperature=2.0, max_new_tokens=8),
        setting(max_new_tokens=8),
    ]
    lanes = [Lane(prompt, how) for prompt in prompts[:3] for how in settings]
    assert texts(expert, lanes) == [text for lane in lanes for text in texts(expert, [lane])]


@pytest.mark.nightly  # on tiny models in every run: tests/decode/test_sources.py
@pytest.mark.parametrize("kind", [SearchKind.beam, SearchKind.greedy])
def test_truncated_writes_the_early_exits_texts(
    expert: LanguageModel, prompts: list[tuple[int, ...]], kind: SearchKind
) -> None:
    """The control that prices an early exit at equal quality: the same blocks with a forward pass of their own."""
    shape: dict[str, object] = {"search": kind, "beams": 5 if kind is SearchKind.beam else 1, "max_new_tokens": 8}
    layer = exit_of(expert, 0.8)
    exits = texts(expert, [Lane(prompt, early_exit(layer, **shape)) for prompt in prompts[:2]])
    amateur = Amateur("truncated", layer)
    own = [Lane(prompt, early_exit(layer, amateur=amateur, **shape)) for prompt in prompts[:2]]
    assert texts(expert, own, {amateur: truncate(expert, layer)}) == exits
