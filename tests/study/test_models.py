"""The models of a study: who fits whom, and which weights a text depends on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import amateur_of
from cdeval.config.enums import Context, PromptSource
from cdeval.config.exits import Lens, Selection
from cdeval.config.schema import AmateurConfig, ExpertConfig, PromptsConfig, RunConfig, SearchConfig
from cdeval.decode.amateurs.ngram import Ngrams
from cdeval.errors import ModelError, PromptError
from cdeval.models.lens import Translator, to_bytes, tuned_lens
from cdeval.study.models import load_together, open_models
from tests.conftest import build_model, build_tokenizer

TEXTS = [f"The quick brown fox number {i} jumps over the lazy dog and runs into the forest. " * 2 for i in range(4)]


@pytest.fixture(scope="module")
def amateur_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    folder = tmp_path_factory.mktemp("amateur")
    build_model("gpt2", seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def plain(tiny_gpt2_folder: Path, tmp_path: Path) -> RunConfig:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(f'{{"id": "t{i}", "text": "{text}"}}' for i, text in enumerate(TEXTS)))
    return RunConfig(
        expert=ExpertConfig(name=str(tiny_gpt2_folder)),
        amateur=AmateurConfig("none"),
        search=SearchConfig(max_new_tokens=4),
        prompts=PromptsConfig(PromptSource.file, str(prompts), prompt_tokens=4, limit=2),
    )


def test_another_vocabulary_is_refused_with_both_sizes_and_the_first_token_that_differs(
    plain: RunConfig, amateur_folder: Path, tmp_path: Path
) -> None:
    other = build_tokenizer()
    other.add_tokens(["brand-new"])
    build_model("gpt2", vocab_size=129).save_pretrained(tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    config = replace(plain, amateur=AmateurConfig("model", name=str(tmp_path / "other")))
    with pytest.raises(
        ModelError, match=r"\(127 and 126 tokens; the first that differs is 126, 'brand-new' and no token\)"
    ):
        open_models(config)
    assert open_models(replace(config, amateur=AmateurConfig("model", name=str(amateur_folder)))).amateur


def test_a_prompt_must_fit_the_amateur_too(
    plain: RunConfig, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    build_model("gpt2", n_positions=6).save_pretrained(tmp_path / "short")
    tokenizer.save_pretrained(tmp_path / "short")
    opened = open_models(replace(plain, amateur=AmateurConfig("model", name=str(tmp_path / "short"))))
    with pytest.raises(ModelError, match=r"exceed the context of .*short"):
        opened.check(opened.prompts())


def test_an_amateur_that_reads_one_token_of_a_prompt_needs_no_room_for_the_others(
    plain: RunConfig, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """With `amateur.context=generated` it reads the last token of a prompt: the prompt's length was held against it."""
    build_model("gpt2", n_positions=6).save_pretrained(tmp_path / "short")
    tokenizer.save_pretrained(tmp_path / "short")
    amateur = AmateurConfig("model", name=str(tmp_path / "short"), context=Context.generated)
    opened = open_models(replace(plain, amateur=amateur))
    opened.check(opened.prompts())  # 1 + 4 tokens; the expert has 4 + 4
    longer = open_models(replace(plain, amateur=amateur, search=SearchConfig(max_new_tokens=6)))
    with pytest.raises(ModelError, match=r"1 prompt tokens \+ 6 new tokens = 7 exceed the context of .*short"):
        longer.check(longer.prompts())


def test_a_texts_identity_holds_the_amateurs_weights(
    plain: RunConfig, amateur_folder: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """A folder may be trained on under the same name: old texts must not pass for new ones."""
    config = replace(plain, amateur=AmateurConfig("model", name=str(amateur_folder)))
    opened, amateur = open_models(config), amateur_of(config.amateur)
    before = opened.load(opened.prompts())
    build_model("gpt2", seed=4).save_pretrained(amateur_folder)
    after = open_models(config).load(opened.prompts())
    assert before.identity(amateur) != after.identity(amateur)
    assert before.identity() == after.identity(), "the control does not depend on the amateur"


def test_n_grams_are_counted_on_the_texts_that_are_no_prompts(plain: RunConfig) -> None:
    config = replace(plain, amateur=AmateurConfig("ngram", order=2))
    opened = open_models(config)
    prompts = opened.prompts()
    (counts,) = opened.load(prompts).amateur_models.values()
    assert isinstance(counts, Ngrams)
    rest = [text for i, text in enumerate(TEXTS) if f"t{i}" not in {prompt.id for prompt in prompts.prompts}]
    assert counts.tokens == sum(len(opened.expert.tokenizer(text)["input_ids"]) for text in rest)
    everything = replace(config, prompts=replace(config.prompts, limit=None))
    with pytest.raises(PromptError, match="none is left to learn an"):
        open_models(everything).load(open_models(everything).prompts())


def test_fractions_of_the_depth_become_blocks(plain: RunConfig) -> None:
    """Of 12 blocks; rounded, and never no block or all of them."""
    found = {
        layer: open_models(replace(plain, amateur=AmateurConfig(layer=layer))).config.amateur.layer
        for layer in (0.5, 0.8, 0.001, 0.999, 7)
    }
    assert found == {0.5: 6, 0.8: 10, 0.001: 1, 0.999: 11, 7: 7}
    chosen = AmateurConfig(layer=[0.5, 3, 0.25], selection=Selection.jsd)
    assert open_models(replace(plain, amateur=chosen)).config.amateur.layer == [3, 6]
    with pytest.raises(ModelError, match=r"all of these are layer 6, which leaves amateur.selection=jsd no choice"):
        open_models(replace(plain, amateur=AmateurConfig(layer=[0.5, 0.51], selection=Selection.jsd)))
    with pytest.raises(ModelError, match=r"amateur.layer=12 is outside"):
        open_models(replace(plain, amateur=AmateurConfig(layer=[3, 12], selection=Selection.jsd)))


def test_a_lens_is_part_of_the_identity_and_must_be_the_experts(plain: RunConfig, tmp_path: Path) -> None:
    expert = open_models(plain).load(open_models(plain).prompts()).expert
    identities = []
    for name, fill in (("one", 0.1), ("other", 0.2)):
        made = {4: Translator(torch.full((32, 32), fill), torch.zeros(32))}
        lens = tuned_lens(made, {"fingerprint": expert.fingerprint})
        (tmp_path / name).write_bytes(to_bytes(lens))
        amateur = AmateurConfig(layer=4, lens=Lens.tuned, lens_file=str(tmp_path / name))
        opened = open_models(replace(plain, amateur=amateur))
        models = opened.load(opened.prompts())
        identities.append(models.identity(amateur_of(opened.config.amateur)))
        assert lens.digest in identities[-1]
        with pytest.raises(ModelError, match="no translator for layer 5"):
            open_models(replace(plain, amateur=replace(amateur, layer=5)))
    assert identities[0] != identities[1]


def test_settings_that_differ_in_what_the_amateur_reads_share_its_weights(
    plain: RunConfig, amateur_folder: Path
) -> None:
    """Else a 2x2 of amateurs and contexts holds the small model twice."""
    amateurs = [
        AmateurConfig("model", name=str(amateur_folder)),
        AmateurConfig("model", name=str(amateur_folder), context=Context.generated),
        AmateurConfig(layer=4),
        AmateurConfig("truncated", layer=4),
    ]
    opened = [open_models(replace(plain, amateur=amateur)) for amateur in amateurs]
    models, _ = load_together(opened, opened[0].prompts())
    whole, part, exit_, truncated = (amateur_of(one.config.amateur) for one in opened)
    assert set(models.amateur_models) == {whole, part, truncated}, "an early exit is the expert's own"
    assert models.amateur_models[whole] is models.amateur_models[part]
    assert models.identity(exit_) == models.identity()


def test_an_amateur_that_cannot_be_made_costs_its_own_setting_alone(plain: RunConfig) -> None:
    """All texts are prompts, so none is left to count: the exit beside it decodes all the same."""
    configs = [replace(plain, prompts=replace(plain.prompts, limit=None)) for _ in range(3)]
    amateurs = [AmateurConfig("ngram", order=2), AmateurConfig(layer=4), AmateurConfig("ngram")]
    opened = [open_models(replace(one, amateur=own)) for one, own in zip(configs, amateurs, strict=True)]
    models, failures = load_together(opened, opened[0].prompts())
    assert sorted(failures) == [0, 2]
    assert not models.amateur_models
    with pytest.raises(PromptError):
        opened[0].load(opened[0].prompts())
