from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast

from cdeval.assets import embedded as assets
from cdeval.config.enums import Pooling
from cdeval.errors import ModelError
from cdeval.metrics.coherence import coherence_rows
from cdeval.metrics.judges.embedder import load_embedder
from cdeval.records import Generation

TEXTS = ["the quick brown fox", "a small model", "the dog runs into the forest near the old river and over it"]


def bert_folder(folder: Path, tokenizer: PreTrainedTokenizerFast, *, pooler: bool = True) -> Path:
    """A checkpoint as SimCSE's are: a plain BERT, no sentence-transformers files."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)
    model = transformers.BertModel(config, add_pooling_layer=pooler).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(0.0, 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def simcse(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    return bert_folder(tmp_path / "sup-simcse-bert-base-uncased", tokenizer)


def by_hand(folder: Path, text: str, tokens: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Pooler output and mean state of one text alone."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)(text)["input_ids"][:tokens]
    with torch.no_grad():
        output = model(torch.tensor([ids]))
    return output.pooler_output[0].numpy(), output.last_hidden_state[0].mean(0).numpy()


def test_simcse_is_the_poolers_output_and_not_the_mean(simcse: Path):
    """sentence-transformers would average the token states of such a folder without a word."""
    embedder = load_embedder(str(simcse))
    vectors = embedder.embed(TEXTS)
    for vector, text in zip(vectors, TEXTS, strict=True):
        pooled, averaged = by_hand(simcse, text)
        np.testing.assert_allclose(vector, pooled, rtol=1e-4, atol=1e-5)
        assert np.abs(vector - averaged).max() > 0.05
    assert "pooler output" in embedder.note
    assert "sup-simcse-bert-base-uncased" in embedder.note


def test_the_mean_on_request(simcse: Path):
    embedder = load_embedder(str(simcse), pooling=Pooling.mean)
    for vector, text in zip(embedder.embed(TEXTS), TEXTS, strict=True):
        np.testing.assert_allclose(vector, by_hand(simcse, text)[1], rtol=1e-4, atol=1e-5)
    assert embedder.fingerprint != load_embedder(str(simcse)).fingerprint


def test_texts_are_cut_as_asked_and_the_note_says_where(simcse: Path):
    embedder = load_embedder(str(simcse), tokens=4)
    np.testing.assert_allclose(embedder.embed(TEXTS[2:])[0], by_hand(simcse, TEXTS[2], 4)[0], rtol=1e-4, atol=1e-5)
    assert "cut at 4 " in embedder.note
    whole = load_embedder(str(simcse), tokens=1000)
    assert "cut at 64 " in whole.note
    assert embedder.fingerprint != whole.fingerprint


def test_a_plain_encoder_of_unknown_pooling_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast):
    folder = bert_folder(tmp_path / "some-bert", tokenizer)
    with pytest.raises(ModelError, match=r"embedder_pooling=pooler"):
        load_embedder(str(folder))
    assert load_embedder(str(folder), pooling=Pooling.pooler).embed(TEXTS).shape == (3, 16)


def test_a_pooler_that_was_never_trained_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast):
    """Transformers fills missing weights with random ones, whose cosines look like any others."""
    folder = bert_folder(tmp_path / "sup-simcse-x", tokenizer, pooler=False)
    with pytest.raises(ModelError, match="no weights for pooler"):
        load_embedder(str(folder))
    assert load_embedder(str(folder), pooling=Pooling.mean).embed(TEXTS).shape == (3, 16)


def test_missing_folder_is_a_short_error(tmp_path: Path):
    with pytest.raises(ModelError, match="is not a folder"):
        load_embedder(str(tmp_path / "nothing"))


def test_folder_without_a_model_is_a_short_error(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(ModelError, match=r"cannot be read.*embedded:minilm"):
        load_embedder(str(tmp_path))


def test_embedded_model_knows_what_belongs_together():
    folder = str(assets.resolve("embedded:minilm"))
    embedder = load_embedder(folder)
    prompt = "The fire brigade fought the bush fires near Sydney all night."
    near, far = "Firefighters hope that rain will help them.", "The bank raised its interest rate by half a point."
    arm = [Generation("0", prompt, (5,), None, text, (6,), None, None) for text in (near, far)]
    (rows,) = coherence_rows([arm], embedder)
    assert rows[0, 0] > rows[1, 0] + 0.2
    assert "cut at 256 " in embedder.note
    published = load_embedder(folder, tokens=128)
    assert "cut at 128 " in published.note
    assert published.fingerprint != embedder.fingerprint
    assert load_embedder(folder).fingerprint == embedder.fingerprint
