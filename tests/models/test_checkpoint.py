"""Checkpoints that do not fit their configuration, and folders that would open files of elsewhere."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Dtype, Pooling
from cdeval.config.schema import ExpertConfig
from cdeval.errors import ModelError
from cdeval.metrics.judges.embedder import load_embedder
from cdeval.models.loading import LanguageModel, open_model
from tests.conftest import TINY, build_model, check_same_model
from tests.models.test_pickled import Evil, as_one_file


def opened(folder: Path) -> LanguageModel:
    return open_model(ExpertConfig(name=str(folder), dtype=Dtype.float32)).load(packed=False)


@pytest.fixture
def folder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A Llama with a head of its own."""
    build_model("llama", tie_word_embeddings=False).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def without_a_block(folder: Path) -> None:
    change_weights(folder, lambda w: [w.pop(name) for name in list(w) if name.startswith("model.layers.3.")])


def without_one_norm(folder: Path) -> None:
    change_weights(folder, lambda w: w.pop("model.norm.weight"))


def without_its_head(folder: Path) -> None:
    change_weights(folder, lambda w: w.pop("lm_head.weight"))


def with_a_classifier(folder: Path) -> None:
    change_weights(folder, lambda w: w.update({"score.weight": torch.zeros(2, 32)}))


def with_fewer_blocks_in_the_configuration(folder: Path) -> None:
    change_config(folder, num_hidden_layers=3)


def with_more_blocks_in_the_configuration(folder: Path) -> None:
    change_config(folder, num_hidden_layers=5)


def with_another_width(folder: Path) -> None:
    change_config(folder, intermediate_size=40)


def with_another_vocabulary(folder: Path) -> None:
    change_config(folder, vocab_size=120)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (without_a_block, r"9 missing.*: model\.layers\.3\.input_layernorm\.weight.* and 6 more"),
        (without_one_norm, r"1 missing.*: model\.norm\.weight"),
        (without_its_head, r"1 missing.*: lm_head\.weight"),
        (with_a_classifier, r"1 unexpected.*: score\.weight"),
        (with_fewer_blocks_in_the_configuration, r"9 unexpected.*model\.layers\.3\."),
        (with_more_blocks_in_the_configuration, r"9 missing.*model\.layers\.4\."),
        (
            with_another_width,
            r"12 of another shape: model\.layers\.0\.mlp\.down_proj\.weight \[32, 48\] for \[32, 40\]",
        ),
        (with_another_vocabulary, r"2 of another shape.*lm_head\.weight \[128, 32\] for \[120, 32\]"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_named(
    folder: Path, spoil: Callable[[Path], None], named: str
) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=named):
        opened(folder)


def test_a_classification_models_folder_is_no_language_model(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """GPT-2's tied head hides that it is missing: only the classifier that is left over tells."""
    tiny = TINY["gpt2"][2]
    model = transformers.GPT2ForSequenceClassification(transformers.GPT2Config(vocab_size=128, **tiny))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"1 unexpected.*score\.weight"):
        opened(tmp_path)


def test_every_complete_checkpoint_opens(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, every_tiny: LanguageModel
) -> None:
    every_tiny.model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids = torch.tensor([[3, 4, 5]])
    check_same_model(opened(tmp_path).model, every_tiny.model, ids)


def test_old_checkpoints_with_masks_and_positions_beside_the_weights_open(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """As the hub's GPT-2 has them, whose names lack the prefix besides; its tied head is not in the file."""
    build_model("gpt2").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = {
        name.removeprefix("transformer."): one for name, one in load_file(tmp_path / "model.safetensors").items()
    }
    weights["h.0.attn.bias"] = torch.ones(1, 1, 256, 256).tril()
    weights["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ids = torch.tensor([[3, 4, 5]])
    check_same_model(opened(tmp_path).model, build_model("gpt2"), ids)


# ---- embedders


@pytest.fixture
def encoder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A BERT as masked language models are saved: with their head, without a pooler."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def as_sentence_transformer(folder: Path) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling as Mean
    from sentence_transformers.sentence_transformer.modules import Transformer

    module = Transformer(str(folder))
    saved = folder.with_name("sentences")
    SentenceTransformer(modules=[module, Mean(module.get_embedding_dimension())]).save(str(saved))
    return saved


def test_an_encoder_inside_a_larger_model_opens(encoder: Path) -> None:
    assert load_embedder(str(encoder), pooling=Pooling.mean).embed(["a"]).shape == (1, 16)


def test_an_encoder_with_other_blocks_than_its_file_is_refused(encoder: Path) -> None:
    change_config(encoder, num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"16 missing.*encoder\.layer\.2\."):
        load_embedder(str(encoder), pooling=Pooling.mean)
    change_config(encoder, num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"16 unexpected.*encoder\.layer\.1\."):
        load_embedder(str(encoder), pooling=Pooling.mean)


def test_a_sentence_transformer_without_some_weights_is_refused(encoder: Path) -> None:
    saved = as_sentence_transformer(encoder)
    assert load_embedder(str(saved)).embed(["a"]).shape == (1, 16)
    change_weights(saved, lambda w: w.pop("encoder.layer.1.output.dense.weight"))
    with pytest.raises(ModelError, match=r"1 missing.*encoder\.layer\.1\.output\.dense\.weight"):
        load_embedder(str(saved))


def test_a_sentence_transformer_may_be_pickled(encoder: Path, tmp_path: Path) -> None:
    saved = as_sentence_transformer(encoder)
    before = load_embedder(str(saved)).embed(["A small model"])
    as_one_file(saved)
    assert (load_embedder(str(saved)).embed(["A small model"]) == before).all()
    torch.save({"embeddings.word_embeddings.weight": Evil(tmp_path)}, saved / PICKLE)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle that holds more than weights"):
        load_embedder(str(saved))
    assert not (tmp_path / "was run").exists()


def test_a_sentence_transformer_reads_nothing_outside_its_folder(encoder: Path) -> None:
    saved = as_sentence_transformer(encoder)
    modules = json.loads((saved / "modules.json").read_text())
    (saved / "modules.json").write_text(json.dumps([{**modules[0], "path": "../bert"}, modules[1]]))
    with pytest.raises(ModelError, match=r"'\.\./bert'.*not inside"):
        load_embedder(str(saved))


def test_a_sentence_transformer_whose_tokenizer_is_elsewhere_is_refused(encoder: Path) -> None:
    saved = as_sentence_transformer(encoder)
    change = json.loads((saved / "sentence_bert_config.json").read_text())
    for name in (None, str(encoder)):
        (saved / "sentence_bert_config.json").write_text(json.dumps({**change, "tokenizer_name_or_path": name}))
        if name is None:
            load_embedder(str(saved))
        else:
            with pytest.raises(ModelError, match="names a tokenizer elsewhere"):
                load_embedder(str(saved))


# ---- where weights may come from

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PICKLE = "pytorch_model.bin"


@pytest.fixture
def sharded(folder: Path) -> Path:
    """The same model in two files and an index."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    files = {FIRST: names[:20], SECOND: names[20:]}
    for file, part in files.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, part in files.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    return folder


def rename_shard(folder: Path, name: str, shard: str = SECOND) -> None:
    text = (folder / "model.safetensors.index.json").read_text()
    (folder / "model.safetensors.index.json").write_text(text.replace(shard, name))


def test_a_sharded_checkpoint_opens(sharded: Path) -> None:
    ids = torch.tensor([[3, 4, 5]])
    check_same_model(opened(sharded).model, build_model("llama", tie_word_embeddings=False), ids)


@pytest.mark.parametrize("shards", [[SECOND], [FIRST, SECOND]], ids=["the second", "all"])
def test_a_shard_that_is_a_pickle_is_refused_before_it_is_opened(
    sharded: Path, monkeypatch: pytest.MonkeyPatch, shards: list[str]
) -> None:
    """Where all are pickles, transformers opens them: the first file decides how it reads the others."""
    torch.save({name: one for file in shards for name, one in load_file(sharded / file).items()}, sharded / PICKLE)
    for file in shards:
        rename_shard(sharded, PICKLE, file)
    monkeypatch.setattr(torch, "load", lambda *_args, **_settings: pytest.fail("a pickle was opened"))
    with pytest.raises(ModelError, match=r"index\.json names 'pytorch_model\.bin'.*Only \.safetensors"):
        opened(sharded)


@pytest.mark.parametrize("how", ["../{0}", "/{1}/{0}", "sub/../../{0}", "link.safetensors", "linked/{0}"])
def test_a_shard_outside_the_folder_is_refused(sharded: Path, tmp_path: Path, how: str) -> None:
    name = SECOND
    (sharded / name).rename(tmp_path / name)
    (sharded / "link.safetensors").symlink_to(tmp_path / name)
    (sharded / "linked").symlink_to(tmp_path)
    (sharded / "sub").mkdir()
    rename_shard(sharded, how.format(name, str(tmp_path).strip("/")))
    with pytest.raises(ModelError, match="inside the model's own folder"):
        opened(sharded)


def test_an_index_that_nobody_reads_is_let_be(sharded: Path) -> None:
    """Left over beside the whole model, as where shards were joined."""
    build_model("llama", tie_word_embeddings=False).save_pretrained(sharded)
    (sharded / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_map": {"a": "../b.bin"}}')
    assert opened(sharded).parts.depth == 4


def test_a_shard_that_is_not_there_is_named(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"names model-00002-of-00002\.safetensors, which is not there"):
        opened(sharded)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"metadata": {}, "weight_map": {}}', '{"weight_map": {"a": "b"}}']
)
def test_a_broken_index_is_named(sharded: Path, content: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"index\.json cannot be read"):
        opened(sharded)


def test_the_hubs_cache_of_links_opens(sharded: Path, tmp_path: Path) -> None:
    """Snapshots hold links to files of another folder, and that is where these weights belong."""
    cache = tmp_path / "models--someone--model"
    (cache / "snapshots" / "abc").mkdir(parents=True)
    (cache / "blobs").mkdir()
    for place, file in enumerate(sorted(sharded.iterdir())):
        file.rename(cache / "blobs" / str(place))
        (cache / "snapshots" / "abc" / file.name).symlink_to(Path("../../blobs") / str(place))
    assert opened(cache / "snapshots" / "abc").parts.depth == 4
    rename_shard(cache / "snapshots" / "abc", "../../../other.safetensors")
    with pytest.raises(ModelError, match="inside the model's own folder"):
        opened(cache / "snapshots" / "abc")


def test_adapters_and_weights_of_another_name_are_refused(folder: Path, tmp_path: Path) -> None:
    """An adapter names its base model, which lies elsewhere; without peft it would be left out in silence."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(other)}))
    with pytest.raises(ModelError, match=r"an adapter.*merge"):
        opened(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"an adapter.*merge"):
        opened(folder)
    change_config(other, transformers_weights="../model/model.safetensors")
    with pytest.raises(ModelError, match="transformers_weights"):
        opened(other)
