"""GGUF files of any architecture that transformers reads: the model that they were made of, kept as a folder."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.api import Search, decode, load
from cdeval.config.enums import Dtype
from cdeval.config.schema import ExpertConfig
from cdeval.errors import ModelError
from cdeval.models import gguf
from cdeval.models.loading import language_model, open_model
from tests.assets.test_gguf import tiny_llama, write_gguf
from tests.conftest import check_same_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("tied", [True, False])
def test_a_file_writes_the_texts_of_its_model(
    tied: bool,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny_llama(len(tokenizer), tied)
    write_gguf(tmp_path / "tiny.gguf", model, tokenizer)
    found = load(tmp_path / "tiny.gguf", dtype="float32")
    assert "turning tiny.gguf into safetensors, once" in capsys.readouterr().err
    ids = torch.tensor([[3, 4, 5]])
    unpacked = open_model(ExpertConfig(str(tmp_path / "tiny.gguf"), dtype=Dtype.float32)).load(packed=False)
    check_same_model(unpacked.model, model, ids)
    how = {"amateur": 1, "lens": "norm", "search": Search("beam", beams=2, max_new_tokens=6)}
    texts = [decode(lm, ["The quick brown"], **how)[0] for lm in (found, language_model(model, tokenizer, "tiny"))]
    assert texts[0].token_ids == texts[1].token_ids
    assert texts[0].score == pytest.approx(texts[1].score, abs=1e-4)  # loaded weights are laid out for the processor
    monkeypatch.setattr(gguf, "convert_any", lambda *_: pytest.fail("it is in the cache"))
    again = open_model(ExpertConfig(str(tmp_path / "tiny.gguf"), dtype=Dtype.float32)).load()
    assert again.fingerprint == found.fingerprint
    assert [path.name for path in (cache / "gguf").iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_read_is_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path, cache: Path) -> None:
    write_gguf(tmp_path / "other.gguf", tiny_llama(len(tokenizer), tied=True), tokenizer, architecture="rwkv6")
    with pytest.raises(ModelError, match=r"other\.gguf cannot be read as a GGUF file .*architecture rwkv6"):
        load(tmp_path / "other.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(ModelError, match=r"broken\.gguf cannot be read as a GGUF file"):
        load(tmp_path / "broken.gguf")
    with pytest.raises(ModelError, match=r"nowhere\.gguf is not a folder: .* or a GGUF file"):
        load(tmp_path / "nowhere.gguf")
    assert not cache.exists() or not list(cache.glob("gguf/*"))
