"""Weights as they lie: pickled checkpoints are what their safetensors twins are, and code among them is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from cdeval.api import Search, decode
from cdeval.config.enums import Dtype, Pooling
from cdeval.config.schema import ExpertConfig
from cdeval.errors import ModelError
from cdeval.metrics.judges.embedder import load_embedder
from cdeval.models.loading import LanguageModel, ReadingModel, open_model
from tests.conftest import build_model

WHOLE = "pytorch_model.bin"
Write = Callable[[Path], None]


def as_one_file(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / WHOLE)
    (folder / "model.safetensors").unlink()


def as_a_file_of_old(folder: Path) -> None:
    """As torch wrote them before 1.6, and as the hub's oldest checkpoints are."""
    torch.save(load_file(folder / "model.safetensors"), folder / WHOLE, _use_new_zipfile_serialization=False)
    (folder / "model.safetensors").unlink()


def in_shards(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    homes = {name: f"pytorch_model-{1 + (place > 3):05}-of-00002.bin" for place, name in enumerate(names)}
    for home in set(homes.values()):
        torch.save({name: weights[name] for name in names if homes[name] == home}, folder / home)
    index = {"metadata": {"total_size": 1}, "weight_map": homes}
    (folder / f"{WHOLE}.index.json").write_text(json.dumps(index))


def saved(model: transformers.PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path, write: Write) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write(folder)
    return folder


def opened(folder: Path) -> LanguageModel:
    return open_model(ExpertConfig(str(folder), dtype=Dtype.float32)).load()


@pytest.mark.parametrize("write", [as_one_file, as_a_file_of_old, in_shards])
@pytest.mark.parametrize("architecture", ["opt", "gpt2"])
def test_pickled_weights_write_the_texts_of_their_twin(
    architecture: str, write: Write, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = build_model(architecture)
    twin = opened(saved(model, tokenizer, tmp_path / "twin", lambda _folder: None))
    found = opened(saved(model, tokenizer, tmp_path / "pickled", write))
    assert found.fingerprint == twin.fingerprint, "a study of the one goes on with the other"
    how = {"amateur": 2, "lens": "norm", "search": Search("beam", beams=2, max_new_tokens=6)}
    texts = [decode(lm, ["The quick brown"], **how)[0] for lm in (found, twin)]
    assert texts[0] == texts[1]


def test_an_encoder_and_a_featurizer_may_be_pickled(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)
    model = transformers.BertModel(config)
    for write in (as_one_file, in_shards):
        twins = [
            load_embedder(
                str(saved(model, tokenizer, tmp_path / f"{write.__name__}{place}", how)), pooling=Pooling.pooler
            )
            for place, how in enumerate((lambda _folder: None, write))
        ]
        one, other = (twin.encoder.state_dict() for twin in twins if twin.encoder is not None)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
        here, there = (twin.embed(["A small model"]) for twin in twins)
        np.testing.assert_allclose(here, there, atol=1e-6)  # where weights lie in memory may decide rounding
    folder = saved(build_model("gpt2"), tokenizer, tmp_path / "reads", in_shards)
    read = open_model(ExpertConfig(str(folder)), "metrics.mauve_features", decodes=False).load_reader()
    assert isinstance(read, ReadingModel)


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.trace = str(folder / "was run")

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_by_its_name(
    zipped: bool,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    folder = saved(build_model("gpt2"), tokenizer, tmp_path / "model", in_shards)
    torch.save(
        {"transformer.wte.weight": Evil(tmp_path)},
        folder / "pytorch_model-00002-of-00002.bin",
        _use_new_zipfile_serialization=zipped,
    )
    message = r"pytorch_model-00002-of-00002\.bin is a pickle that holds more than weights: it names \w*\.mkdir"
    with pytest.raises(ModelError, match=rf"{message}.*nothing of it was run\. Give the model in safetensors"):
        opened(folder)
    assert not (tmp_path / "was run").exists()


def test_what_is_damaged_or_lies_elsewhere_is_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    folder = saved(build_model("gpt2"), tokenizer, tmp_path / "model", as_one_file)
    (folder / WHOLE).write_bytes((folder / WHOLE).read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"pytorch_model\.bin cannot be read as pickled weights"):
        opened(folder)
    (folder / WHOLE).unlink()
    (folder / f"{WHOLE}.index.json").write_text('{"metadata": {}, "weight_map": {"a": "../b.bin"}}')
    with pytest.raises(ModelError, match=r"names '\.\./b\.bin' for its weights\. Only \.bin files inside"):
        opened(folder)
    (folder / f"{WHOLE}.index.json").unlink()
    with pytest.raises(ModelError, match=r"Weights are read from model\.safetensors, else from pytorch_model\.bin"):
        opened(folder)
