"""The file of a lens: what goes in comes out, and what does not fit is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cdeval.errors import ModelError
from cdeval.models.lens import Translator, TunedLens, read_lens, to_bytes, translated, tuned_lens
from cdeval.models.loading import LanguageModel

WIDTH = 32


def lens(fingerprint: str = "f", seed: int = 0) -> TunedLens:
    draw = torch.Generator().manual_seed(seed)
    made = {
        k: Translator(torch.randn(WIDTH, WIDTH, generator=draw), torch.randn(WIDTH, generator=draw)) for k in (2, 3)
    }
    return tuned_lens(made, {"fingerprint": fingerprint, "expert": "a model", "dtype": "float32"})


def test_a_lens_survives_its_file(tmp_path: Path) -> None:
    written = lens()
    (tmp_path / "a.safetensors").write_bytes(to_bytes(written))
    back = read_lens(tmp_path / "a.safetensors", None, WIDTH)
    assert sorted(back.translators) == [2, 3]
    assert all(
        torch.equal(*pair) for k in (2, 3) for pair in zip(back.translators[k], written.translators[k], strict=True)
    )
    assert back.facts["expert"] == "a model"
    assert back.digest == written.digest


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Its numbers would be another lens, whose texts nobody could make again."""
    content = bytearray(to_bytes(lens()))
    content[-3] ^= 1  # of layer 3, the last tensor
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"is damaged: the translators of layer 3 .*Copy the file anew"):
        read_lens(tmp_path / "a.safetensors", None, WIDTH)
    assert read_lens(tmp_path / "a.safetensors", [2], WIDTH).facts.keys() == {
        "fingerprint",
        "expert",
        "dtype",
        "format",
    }


def test_a_lens_of_an_older_release_is_told_so(tiny: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(ModelError, match=r"by an older cdeval, which knew a model by a sample"):
        lens("0" * 64).on(tiny("llama"))


def test_the_digest_is_that_of_the_translators_in_use(tmp_path: Path) -> None:
    """Other facts make no other texts; other numbers, or other layers, do."""
    same = replace(lens(), facts={"expert": "renamed"})
    assert tuned_lens(same.translators, same.facts).digest == lens().digest
    assert lens(seed=1).digest != lens().digest
    (tmp_path / "a.safetensors").write_bytes(to_bytes(lens()))
    assert read_lens(tmp_path / "a.safetensors", [2], WIDTH).digest != lens().digest


def test_translation_by_hand() -> None:
    translator = Translator(torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([10.0, 20.0]))
    assert translated(translator, torch.tensor([[3.0, 4.0]])).tolist() == [[3 + 4 + 10, 4 + 6 + 20]]
    assert translated(translator, torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_only_its_own_expert_takes_a_lens(tiny: Callable[[str], LanguageModel]) -> None:
    """Layers of equal width fit every model of a family; only the fingerprint tells that they mean something else."""
    expert = tiny("llama")
    assert lens(expert.fingerprint).on(expert).digest == lens().digest
    with pytest.raises(ModelError, match=r"was trained for a model in float32, and not for tiny llama"):
        lens().on(expert)


@pytest.mark.parametrize(
    ("name", "layers", "width", "message"),
    [
        ("nowhere.safetensors", None, WIDTH, "is not a file: train a lens"),
        ("a.safetensors", [1, 3], WIDTH, r"no translator for layer 1; it has 2, 3.*layers=\[1,2,3\]"),
        ("a.safetensors", [2], 64, r"shapes \[\(32, 32\), \(32,\)\] do not fit the expert, whose blocks are 64 wide"),
        ("model.safetensors", [2], WIDTH, "is no lens of cdeval"),
        ("text.safetensors", [2], WIDTH, "cannot be read as a lens"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, layers: list[int] | None, width: int, message: str
) -> None:
    (tmp_path / "a.safetensors").write_bytes(to_bytes(lens()))
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "text.safetensors").write_text("not a lens")
    with pytest.raises(ModelError, match=message):
        read_lens(tmp_path / name, layers, width)
