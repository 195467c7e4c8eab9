"""The linear lens as it is kept: what names it, what is read again, and what is fitted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cdeval.errors import PromptError
from cdeval.lens import linear
from cdeval.lens.least_squares import least_squares
from cdeval.lens.linear import embedded_lens, linear_lens
from cdeval.models.lens import read_lens
from cdeval.models.loading import LanguageModel
from cdeval.prompts.items import Text
from cdeval.prompts.tokens import TextCodec

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "and", "runs", "into", "forest", "near"]
TEXTS = [Text(f"text-{i}", " ".join(WORDS[(i + j * (i + 2)) % len(WORDS)] for j in range(40))) for i in range(24)]
Tiny = Callable[[str], LanguageModel]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lenses"


def test_layers_are_fitted_once_and_read_from_then_on(tiny: Tiny, cache: Path) -> None:
    lines: list[str] = []
    first = linear_lens(tiny("llama"), TEXTS, "mine", [1, 3], lines.append)
    assert lines[0].startswith("fitting the linear lens of layer 1,3 on ")
    assert lines[0].endswith("tokens of 24 texts from mine")
    lines.clear()
    more = linear_lens(tiny("llama"), TEXTS, "mine", [1, 2, 3], lines.append)
    assert lines[0].startswith("fitting the linear lens of layer 2 on "), "the others are kept"
    assert more.digest == first.digest, "which other layers are asked for tells no texts apart"
    assert all(torch.equal(*pair) for pair in zip(more.translators[3], first.translators[3], strict=True))
    assert more.trained_on == {text.id for text in TEXTS}
    assert sorted(path.name for path in (cache / first.digest).iterdir()) == [
        f"layer.{k}.safetensors" for k in (1, 2, 3)
    ]


def test_what_shapes_a_lens_names_it(tiny: Tiny) -> None:
    llama = tiny("llama")
    names = {
        linear_lens(expert, texts, source, [2], print).digest
        for expert, texts, source in ((llama, TEXTS, "a"), (llama, TEXTS, "b"), (llama, TEXTS[1:], "a"))
    }
    assert len(names) == 2, "other texts are another lens, another name for them is not"
    assert linear_lens(tiny("gpt2"), TEXTS, "a", [2], print).digest not in names
    renamed = [Text(f"other-{text.id}", text.text) for text in TEXTS]
    assert linear_lens(llama, renamed, "a", [2], print).digest in names


def test_a_damaged_layer_is_fitted_again(tiny: Tiny, cache: Path) -> None:
    lines: list[str] = []
    whole = linear_lens(tiny("llama"), TEXTS, "mine", [1, 2], lines.append)
    path = cache / whole.digest / "layer.2.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    lines.clear()
    again = linear_lens(tiny("llama"), TEXTS, "mine", [1, 2], lines.append)
    assert lines[0] == f"{path} is damaged, and is fitted again"
    assert lines[1].startswith("fitting the linear lens of layer 2 on ")
    assert torch.equal(again.translators[2].matrix, whole.translators[2].matrix)
    assert read_lens(path, [2], 32).facts["texts"] == "mine"


def test_a_killed_fit_leaves_nothing_half_written(tiny: Tiny, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def dies(*_arguments: object, **_named: object) -> None:
        raise Killed

    for where in ("cdeval.lens.linear.least_squares", "os.fsync"):  # while it fits, while it writes
        with monkeypatch.context() as patched:
            patched.setattr(where, dies)
            with pytest.raises(Killed):
                linear_lens(tiny("llama"), TEXTS, "mine", [2], print)
        assert not list(cache.rglob("*.safetensors"))
    assert linear_lens(tiny("llama"), TEXTS, "mine", [2], print).translators.keys() == {2}


def test_a_cache_that_cannot_be_written_costs_a_line(tiny: Tiny, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where a folder is needed")
    lines: list[str] = []
    lens = linear_lens(tiny("llama"), TEXTS, "mine", [2], lines.append)
    assert lines[-1].startswith("the linear lens is not kept, and is fitted again next time: ")
    assert lens.translators.keys() == {2}


def test_many_texts_are_thinned_evenly(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    llama = tiny("llama")
    tokens = linear.stream([text.text for text in TEXTS], llama.tokenizer)
    whole = linear.cut(tokens, 256)
    monkeypatch.setattr(linear, "MOST_A_COORDINATE", 16)  # 512 positions
    found = linear._windows(TEXTS, llama)
    assert found.shape == (2, 256)
    assert torch.equal(found, whole[[0, -1]])


def test_too_few_texts_are_refused_with_the_number_that_is_wanted(tiny: Tiny) -> None:
    with pytest.raises(PromptError, match=r"tiny llama is to be learnt from \d+ positions, .* at least 128 positions"):
        linear_lens(tiny("llama"), TEXTS[:1], "mine", [2], print)


def test_of_no_study_it_is_fitted_to_texts_that_are_no_prompts(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    news = [Text(f"news-{i:04}", text.text + "The quick brown fox. " * 8) for i, text in enumerate(TEXTS * 3)]
    monkeypatch.setattr("cdeval.prompts.texts.news", lambda: news)
    monkeypatch.setattr("cdeval.prompts.texts.wiki", lambda _needed: [])
    lens = embedded_lens(tiny("llama"), [2])
    tune = [text.id for text in news if text.id in lens.trained_on]
    assert 0 < len(tune) < len(news) / 2
    assert lens.facts["texts"] == "news_wiki (split tune)"
    other = embedded_lens(tiny("llama"), [2], used=tune[:1])
    assert other.facts["texts"] == "news_wiki (split test)"
    assert not other.trained_on & lens.trained_on
    tokens = [TextCodec(tiny("llama").tokenizer).prompt_ids(text.text) for text in news if text.id in tune]
    assert int(lens.facts["tokens"]) <= sum(map(len, tokens)) + len(tokens)
    assert json.loads(lens.facts["text_ids"]) == tune
    exact = least_squares(
        tiny("llama"), linear._windows([text for text in news if text.id in tune], tiny("llama")), [2]
    )
    assert torch.equal(lens.translators[2].matrix, exact[2].matrix)
