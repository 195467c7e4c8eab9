"""No metric counts with NaN or infinity that a model said of a text: it says which metric, model, format and text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from cdeval.config.enums import Pooling
from cdeval.config.schema import MetricsConfig
from cdeval.errors import ModelError
from cdeval.metrics.coherence import coherence_rows
from cdeval.metrics.features import FeatureCache
from cdeval.metrics.judges.embedder import Embedder, load_embedder
from cdeval.metrics.judges.likelihood import nll_rows
from cdeval.metrics.judges.scorer import TextReader
from cdeval.models.loading import LanguageModel, language_model
from cdeval.records import Generation
from tests.conftest import build_model
from tests.metrics.clustered import mauve_of_arms

BROKEN = 60  # a token whose embedding is no number


def text(name: str, *tokens: int) -> Generation:
    return Generation(name, name, (5, 6, 7), name, " ".join(map(str, tokens)), tokens, None, None)


TEXTS = [text("one", 8, 9, 10), text("two", 8, BROKEN, 10), text("three", 11, BROKEN, 12)]


@pytest.fixture
def judge(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    model = build_model("gpt_neox")
    model.gpt_neox.embed_in.weight[BROKEN] = torch.nan
    return language_model(model, tokenizer, "broken")


def test_perplexity(judge: LanguageModel, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    message = r"perplexity: broken in float32 gives a log-probability .* text 'two' \(2 of 3 texts\)"
    for _ in range(2):  # what is no number is not kept as an answer
        with pytest.raises(ModelError, match=message):
            nll_rows(judge, TEXTS, cache)
    assert np.isfinite(nll_rows(judge, TEXTS[:1], cache)).all()
    judge.model.gpt_neox.embed_in.weight[BROKEN] = 0.0
    assert np.isfinite(nll_rows(judge, TEXTS, cache)).all()


def test_perplexity_of_a_token_that_cannot_be(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("gpt2")
    handle = lm.model.lm_head.register_forward_hook(
        lambda _module, _inputs, logits: logits.index_fill(-1, torch.tensor([9]), -torch.inf)
    )
    try:
        with pytest.raises(ModelError, match="text 'one'"):
            nll_rows(lm, TEXTS)
        assert np.isfinite(nll_rows(lm, TEXTS[1:])).all()
    finally:
        handle.remove()


def test_mauve(judge: LanguageModel) -> None:
    """It came to a traceback from clustering."""
    human = [text(one.id, 20, 21, 22) for one in TEXTS]
    with pytest.raises(ModelError, match=r"MAUVE: broken in float32 gives a last hidden state .* text 'two'"):
        mauve_of_arms({"arm": TEXTS}, human, TextReader(judge, retokenise=False), MetricsConfig(), 0)


def test_an_overflow_in_float16(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_model("llama")
    model.model.layers[1].mlp.down_proj.weight.mul_(1e5)
    half = language_model(model.to(torch.float16), tokenizer, "half")
    with pytest.raises(ModelError, match=r"half in float16 .* text 'one'.*try float32"):
        nll_rows(half, TEXTS[:1])


def test_coherence() -> None:
    def embed(texts: list[str]) -> np.ndarray:
        return np.array([[np.inf if str(BROKEN) in one else 1.0, 2.0] for one in texts], dtype=np.float32)

    message = r"coherence: letters in float8 gives an embedding .* text 'two' \(2 of"
    with pytest.raises(ModelError, match=message):
        coherence_rows([TEXTS], Embedder(embed, "a note", model="letters in float8"))
    (rows,) = coherence_rows([TEXTS[:1]], Embedder(embed, "a note"))
    assert rows[0, 0] == pytest.approx(1.0)
    zeros = Embedder(lambda texts: np.zeros((len(texts), 2), dtype=np.float32), "a note")
    assert np.isnan(coherence_rows([TEXTS], zeros)[0]).all(), "a vector of zeros has no direction: counted as missing"


def test_an_embedder_from_a_folder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = BertModel(
        BertConfig(vocab_size=128, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    )
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.fill_(torch.nan)
    model.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    embedder = load_embedder(str(tmp_path / "bert"), pooling=Pooling.mean)
    with pytest.raises(ModelError, match=r"coherence: bert in float32 gives an embedding"):
        coherence_rows([TEXTS], embedder)
