"""Opening models: folders, number formats, fingerprints, and clear refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Ban, Dtype
from cdeval.config.schema import ExpertConfig
from cdeval.errors import CdevalError, ModelError
from cdeval.models.hardware import choose_dtype
from cdeval.models.loading import LanguageModel, language_model, open_model
from cdeval.models.vocabulary import banned_tokens, end_tokens
from tests.conftest import build_model, check_same_model


def test_a_saved_folder_opens_with_the_same_logits(tiny_gpt2_folder: Path) -> None:
    opened = open_model(ExpertConfig(name=str(tiny_gpt2_folder), dtype=Dtype.float32))
    assert opened.config.num_hidden_layers == 12
    lm = opened.load(packed=False)
    original = build_model("gpt2", n_layer=12, n_positions=512)
    ids = torch.tensor([[3, 4, 5]])
    check_same_model(lm.model, original, ids)
    assert lm.fingerprint == language_model(original, lm.tokenizer, "in memory").fingerprint
    assert not lm.model.training


def test_weights_come_in_the_format_that_was_asked_for(tiny_gpt2_folder: Path) -> None:
    lm = open_model(ExpertConfig(name=str(tiny_gpt2_folder), dtype=Dtype.bfloat16)).load()
    assert lm.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "features", "dtype"),
    [
        ("Intel Xeon", ("amx_bf16", "avx512_bf16"), torch.bfloat16),
        ("Intel Xeon", ("avx512_bf16",), torch.float32),
        ("AMD EPYC", ("avx512_bf16",), torch.bfloat16),
        ("AMD EPYC", (), torch.float32),
    ],
)
def test_auto_is_bfloat16_only_where_the_processor_multiplies_it_faster(
    name: str, features: tuple[str, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name, **dict.fromkeys(features, True)})
    assert choose_dtype(Dtype.auto, cpu) == dtype
    assert choose_dtype(Dtype.float32, cpu) == torch.float32


def test_special_tokens_and_empty_rows_are_banned(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("gpt2")
    assert end_tokens(lm.model, lm.tokenizer) == (0,)
    assert banned_tokens(Ban.none, lm.model, lm.tokenizer) == ()
    assert banned_tokens(Ban.eos, lm.model, lm.tokenizer) == (0,)
    assert banned_tokens(Ban.special, lm.model, lm.tokenizer) == (0, 1, 126, 127)


def test_several_end_tokens_are_all_ends(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_model("llama")
    model.generation_config.eos_token_id = [7, 9]
    assert end_tokens(model, tokenizer) == (0, 7, 9)


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_torn_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def with_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def with_an_unknown_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bloom"}))


def with_an_unknown_tokenizer(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"] = {"type": "Morphemes", "vocab": {}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def with_a_nested_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model":' * 5000 + "1" + "}" * 5000)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (with_an_unknown_tokenizer, "cannot be opened"),
        (with_a_nested_tokenizer, "cannot be opened"),
        (without_config, "folder without a model"),
        (without_weights, "safetensors"),
        (with_torn_weights, "cannot be opened"),
        (with_pickled_weights, r"pytorch_model\.bin cannot be read as pickled weights"),
        (with_an_unknown_architecture, "'bloom'"),
    ],
)
def test_spoilt_folders_are_refused_clearly(
    tiny_gpt2_folder: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_gpt2_folder, folder)
    spoil(folder)
    with pytest.raises(ModelError, match=message):
        open_model(ExpertConfig(name=str(folder))).load()


def test_missing_folders_devices_and_assets_are_refused_clearly(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a folder"):
        open_model(ExpertConfig(name=str(tmp_path / "nowhere")))
    with pytest.raises(ModelError, match="expected auto, cpu, cuda"):
        open_model(ExpertConfig(name=str(tmp_path), device="toaster")) if (tmp_path / "config.json").write_text(
            "{}"
        ) else None
    with pytest.raises(CdevalError, match="embedded:smollm2"):
        open_model(ExpertConfig(name="embedded:smolm2"))
