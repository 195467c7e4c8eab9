"""A model's folder, and what its configuration says of its depth, as both are known before torch is loaded."""

import json
from pathlib import Path

import pytest

from cdeval.assets import embedded
from cdeval.config.amateur import AMATEURS
from cdeval.config.enums import Weights
from cdeval.config.exits import check_depth
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.errors import AssetError, CdevalError, ModelError
from cdeval.models.folder import AT_A_LAYER, check_models, find_folder
from tests.conftest import TINY

READ = frozenset({"expert.name", "amateur.layer"})


@pytest.mark.parametrize("layer", [0, 4, 7])
def test_exit_layers_lie_inside_the_model(layer: int) -> None:
    with pytest.raises(ModelError, match=r"L=4 blocks.*1 to 3"):
        check_depth(4, layer, "model")
    check_depth(4, 3, "model")


def test_the_amateurs_that_read_a_layer_are_all_known() -> None:
    assert set(AT_A_LAYER) == {kind.name for kind in AMATEURS.every() if "layer" in kind.reads}


@pytest.mark.parametrize("architecture", sorted(TINY))
def test_every_architecture_says_its_depth(architecture: str, tmp_path: Path) -> None:
    import transformers

    name, _, sizes = TINY[architecture]
    getattr(transformers, name)(**sizes).save_pretrained(tmp_path)
    depth = json.loads((tmp_path / "config.json").read_text())
    blocks = depth.get("n_layer", depth.get("num_hidden_layers"))
    expert = ExpertConfig(str(tmp_path))
    check_models(RunConfig(expert=expert, amateur=AmateurConfig(layer=blocks - 1)), READ)
    with pytest.raises(ModelError, match=rf"amateur.layer={blocks} is outside .* it has L={blocks} blocks"):
        check_models(RunConfig(expert=expert, amateur=AmateurConfig(layer=[1, blocks])), READ)
    for other in (AmateurConfig(layer=blocks, kind="ngram"), AmateurConfig(layer=0.99), AmateurConfig(layer="deep")):
        check_models(RunConfig(expert=expert, amateur=other), READ)
    random = ExpertConfig(str(tmp_path), weights=Weights.random)
    check_models(RunConfig(expert=random, amateur=AmateurConfig(layer=blocks)), READ)


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b'{"num_hidden_layers": "many"}'])
def test_a_depth_that_is_not_told_is_left_to_the_model(content: bytes | None, tmp_path: Path) -> None:
    name = "adapter_config.json" if content is None else "config.json"
    (tmp_path / name).write_bytes(content or b"{}")
    check_models(RunConfig(expert=ExpertConfig(str(tmp_path)), amateur=AmateurConfig(layer=99)), READ)


def test_where_a_model_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert find_folder("gpt2") is None
    assert find_folder("facebook/opt-125m") is None
    assert find_folder("embedded:smollm2") == tmp_path / "cache" / embedded.ASSETS["smollm2"].folder
    wrong: list[tuple[str, type[CdevalError], str]] = [
        ("./nowhere", ModelError, r"amateur\.name=\./nowhere is not a folder"),
        ("file", ModelError, "is not a folder"),
        ("empty", ModelError, "a folder without a model"),
        ("embedded:gpt2", AssetError, "embedded:smollm2"),
    ]
    for name, kind, said in wrong:
        with pytest.raises(kind, match=said):
            find_folder(name, "amateur.name")
