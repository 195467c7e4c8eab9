"""What makes two models one, and what makes them two."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Dtype
from cdeval.config.schema import ExpertConfig
from cdeval.errors import ModelError
from cdeval.models import loading
from cdeval.models.identity import weights_digest
from cdeval.models.loading import language_model, open_model
from cdeval.store import hashing
from tests.conftest import build_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "_known", {})
    monkeypatch.setattr(hashing, "SMALL", 0)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    build_model("gemma2").save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def of(folder: Path, dtype: Dtype = Dtype.float32) -> str:
    return open_model(ExpertConfig(name=str(folder), dtype=dtype)).load(packed=False).fingerprint


def changed(folder: Path, file: str, change: Callable[[dict[str, object]], object]) -> Path:
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))
    return folder


def set_config(**values: object) -> Callable[[Path], object]:
    return lambda folder: changed(folder, "config.json", lambda content: content.update(values))


def one_value_of_one_row(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][7, 3] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def two_rows_exchanged(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    rows[[5, 6]] = rows[[6, 5]]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def an_end_of_the_generation_settings(folder: Path) -> None:
    changed(folder, "generation_config.json", lambda content: content.update(eos_token_id=[0, 9]))


def a_special_token(folder: Path) -> None:
    changed(folder, "tokenizer_config.json", lambda content: content.update(eos_token="<|marker|>"))  # noqa: S106


def a_merge_of_the_tokenizer(folder: Path) -> None:
    changed(folder, "tokenizer.json", lambda content: content["model"]["merges"].pop())  # type: ignore[index]


OTHERS = [
    one_value_of_one_row,
    two_rows_exchanged,
    an_end_of_the_generation_settings,
    a_special_token,
    a_merge_of_the_tokenizer,
    set_config(rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
    set_config(rms_norm_eps=1e-5),
    set_config(final_logit_softcapping=10.0),
    set_config(query_pre_attn_scalar=16),
    set_config(sliding_window=64),
]


@pytest.mark.parametrize("change", OTHERS)
def test_whatever_shapes_texts_makes_another_model(folder: Path, change: Callable[[Path], object]) -> None:
    """Under the same path, and with the same sampled values of its weights."""
    before = of(folder)
    change(folder)
    assert of(folder) != before


def test_what_shapes_no_text_makes_no_other_model(folder: Path, tmp_path: Path) -> None:
    before = of(folder)
    set_config(transformers_version="5.0.0", attention_dropout=0.1, _name_or_path="x", id2label={"0": "a"})(folder)
    changed(folder, "generation_config.json", lambda content: content.update(temperature=0.3))
    changed(folder, "tokenizer_config.json", lambda content: content.update(model_max_length=77, chat_template="x"))
    assert of(folder) == before
    shutil.copytree(folder, tmp_path / "copy")
    assert of(tmp_path / "copy") == before


def test_files_do_not_count_but_what_is_in_memory(
    folder: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """A model that a program hands over, and one in several files, are the model of the folder."""
    model = build_model("gemma2")
    assert language_model(model, tokenizer, "in memory").fingerprint == of(folder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    tokenizer.save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert of(tmp_path / "shards") == of(folder)
    assert of(folder, Dtype.bfloat16) != of(folder)


def test_using_a_tokenizer_does_not_change_it(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_model("gpt2")
    before = language_model(model, tokenizer, "before").fingerprint
    tokenizer(["a b c d", "e"], truncation=True, max_length=3)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer(["a b c d", "e"], truncation=True, max_length=2)
    assert language_model(model, tokenizer, "after").fingerprint == before


def test_weights_are_hashed_once_and_then_remembered(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = of(folder)
    monkeypatch.setattr(hashing, "_known", {})  # as in the next process
    monkeypatch.setattr(loading, "weights_digest", lambda _model: pytest.fail("hashed again"))
    assert of(folder) == before
    monkeypatch.undo()
    monkeypatch.setenv("CDEVAL_CACHE", str(cache))
    assert len([file for file in (cache / "hashes").rglob("*") if file.is_file()]) == 1
    for file in (cache / "hashes").rglob("*"):  # bits of the memory itself may rot
        if file.is_file():
            text = file.read_text()
            file.write_text(("0" if text[0] != "0" else "1") + text[1:])
    monkeypatch.setattr(hashing, "_known", {})
    assert of(folder) == before


def test_small_files_leave_nothing_in_the_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "SMALL", 1 << 30)
    assert of(folder) == of(folder)
    assert not cache.exists()


def test_weights_overwritten_in_place_are_seen_though_their_time_is_put_back(folder: Path) -> None:
    before, file = of(folder), folder / "model.safetensors"
    times = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert of(folder) != before


def test_a_cache_that_cannot_be_written_costs_time_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    before = of(folder)
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(hashing, "_known", {})
    assert of(folder) == before


def test_tied_weights_and_odd_tensors_are_hashed() -> None:
    model = torch.nn.Module()
    model.register_buffer("scalar", torch.tensor(True))
    model.register_buffer("empty", torch.zeros(0, 3))
    model.register_buffer("narrow", torch.zeros(3, 2, dtype=torch.bfloat16).t())
    assert weights_digest(model) == weights_digest(model)
    model.scalar.fill_(False)
    other = weights_digest(model)
    model.scalar.fill_(True)
    assert weights_digest(model) != other


def test_weights_that_are_elsewhere_have_no_identity(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match="without values"):
        language_model(build_model("llama").to("meta"), tokenizer, "offloaded")
