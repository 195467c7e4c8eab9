"""amateur.lens=linear wherever an exit can be: the texts are those through a tuned lens of the same translators."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cdeval.config.amateur import Amateur, amateur_of
from cdeval.config.enums import Dtype, Normalizer, PromptSource, SearchKind, Split, Weights
from cdeval.config.exits import AdaptiveExitConfig, ConfidenceMeasure, Lens, Selection
from cdeval.config.points import plan_points
from cdeval.config.schema import (
    CALIBRATED,
    AmateurConfig,
    ContrastConfig,
    ExpertConfig,
    PromptsConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.config.setting import setting_of
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.batches import decode
from cdeval.decode.lanes import Lane
from cdeval.errors import ModelError, PromptError
from cdeval.lens import linear
from cdeval.lens.temperature import with_temperature
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel
from cdeval.study.models import OpenedModels, load_together, open_models, with_lenses
from cdeval.study.ray import ray_executor
from tests.lens.test_linear import TEXTS

LINEAR = AmateurConfig(layer=4, lens=Lens.linear)
GREEDY = SearchConfig(SearchKind.greedy, beams=1, max_new_tokens=6)
DRAWN = SearchConfig(SearchKind.sample, beams=1, max_new_tokens=6, top_p=0.9)

WAYS: dict[str, tuple[AmateurConfig, SearchConfig, ContrastConfig]] = {
    "beam": (LINEAR, SearchConfig(beams=3, max_new_tokens=6), ContrastConfig(temperature=0.5)),
    "greedy": (LINEAR, GREEDY, ContrastConfig()),
    "sampled, head of the candidates": (LINEAR, DRAWN, ContrastConfig(normalizer=Normalizer.candidates)),
    "dola": (AmateurConfig(layer=[2, 4, 8], lens=Lens.linear, selection=Selection.jsd), GREEDY, ContrastConfig()),
    "calm": (
        AmateurConfig(
            layer=[2, 4, 8], lens=Lens.linear, selection=Selection.confidence, measure=ConfidenceMeasure.saturation
        ),
        SearchConfig(beams=2, max_new_tokens=6),
        ContrastConfig(),
    ),
    "below exits of the expert": (
        LINEAR,
        replace(GREEDY, adaptive_exit=AdaptiveExitConfig(threshold=0.5, layers=[8, 10])),
        ContrastConfig(),
    ),
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "linear-lenses"  # of all of these tests: what is fitted once stays
    monkeypatch.setenv("CDEVAL_CACHE", str(folder))
    return folder


@pytest.fixture
def plain(tiny_gpt2_folder: Path, tmp_path: Path) -> RunConfig:
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps(text._asdict()) for text in TEXTS))
    prompts = [{"id": f"p{i}", "text": text.text[7:]} for i, text in enumerate(TEXTS[:3])]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    return RunConfig(
        expert=ExpertConfig(name=str(tiny_gpt2_folder), dtype=Dtype.float32),
        amateur=replace(LINEAR, lens_texts=str(tmp_path / "texts.jsonl")),
        search=SearchConfig(max_new_tokens=4),
        prompts=PromptsConfig(PromptSource.file, str(tmp_path / "prompts.jsonl"), prompt_tokens=4),
        runs=str(tmp_path / "runs"),
    )


def asked(plain: RunConfig, way: str) -> OpenedModels:
    amateur, search, contrast = WAYS[way]
    own = replace(amateur, lens_texts=plain.amateur.lens_texts)
    return open_models(replace(plain, amateur=own, search=search, contrast=contrast))


def texts(
    expert: LanguageModel, config: RunConfig, opened: OpenedModels, amateur_models: Mapping[Amateur, AmateurModel]
) -> list[tuple[int, ...]]:
    lanes = [Lane(prompt.token_ids, setting_of(config), prompt.id) for prompt in opened.prompts().prompts]
    found = {}
    for batch in decode(expert, lanes, amateur_models=amateur_models, max_lanes=2, compact_every=2):
        found.update(zip(batch.lanes, batch.continuations, strict=True))
    return [found[place].token_ids for place in range(len(lanes))]


@pytest.mark.parametrize("dtype", [Dtype.float32, Dtype.bfloat16])
@pytest.mark.parametrize("way", WAYS)
def test_it_decodes_as_a_tuned_lens_of_the_same_translators(plain: RunConfig, way: str, dtype: Dtype) -> None:
    opened = asked(replace(plain, expert=replace(plain.expert, dtype=dtype)), way)
    models = opened.load(opened.prompts())
    ((amateur, lens),) = models.amateur_models.items()
    assert isinstance(lens, TunedLens)
    assert sorted(lens.translators) == list(amateur.exits)
    found = texts(models.expert, opened.config, opened, models.amateur_models)
    tuned = replace(opened.config, amateur=replace(opened.config.amateur, lens=Lens.tuned, lens_file="same"))
    same = replace(amateur_of(tuned.amateur), lens_texts=amateur.lens_texts)
    assert found == texts(models.expert, tuned, opened, {same: lens})
    plainly = replace(opened.config, amateur=replace(opened.config.amateur, lens=Lens.norm))
    assert found != texts(models.expert, plainly, opened, {}), "or the lens is not read"


def test_all_settings_of_a_study_share_one_fit(
    plain: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their layers together; and whatever the lens cannot be fitted to costs the settings that read it alone."""
    passes: list[list[int]] = []
    monkeypatch.setattr(linear, "RECIPE", "of this test")

    def counted(*arguments: object, **named: object) -> object:
        passes.append(list(arguments[2]))  # type: ignore[call-overload]
        return fit(*arguments, **named)  # type: ignore[arg-type]

    fit = linear.least_squares
    monkeypatch.setattr(linear, "least_squares", counted)
    own = plain.amateur
    amateurs = [own, replace(own, layer=[2, 8], selection=Selection.jsd), AmateurConfig(layer=3)]
    amateurs.append(replace(own, lens_texts=str(tmp_path / "few.jsonl")))
    (tmp_path / "few.jsonl").write_text('{"text": "the fox"}')
    opened = [open_models(replace(plain, amateur=amateur)) for amateur in amateurs]
    models, failures = load_together(opened, opened[0].prompts())
    assert passes == [[2, 4, 8]]
    assert {key.exits: sorted(lens.translators) for key, lens in models.amateur_models.items()} == {
        (4,): [4],
        (2, 8): [2, 8],
    }
    assert list(failures) == [3]
    assert "at least 128 positions are wanted" in str(failures[3])
    again, _ = load_together(opened[:2], opened[0].prompts())
    assert len(passes) == 1, "the second time it is read"
    first, second = (amateur_of(one.config.amateur) for one in opened[:2])
    assert again.identity(first) == models.identity(first) != models.identity()
    facts = models.amateur_models[second].facts  # type: ignore[union-attr]
    assert sorted(json.loads(facts["translators"])) == ["2", "8"]


def test_workers_read_the_drivers_lens_and_fit_none(plain: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_models(plain)
    models = opened.load(opened.prompts())
    executor = ray_executor(plain.execution, [opened.config], models, opened.prompts(), print)

    def refused(*_arguments: object, **_named: object) -> None:
        raise AssertionError("a worker fits a lens of its own")

    monkeypatch.setattr("cdeval.study.models.linear_lenses", lambda configs, *_rest: refused() if configs else [])
    executor.setup()
    filled = with_lenses([opened], models.linear_lenses)
    assert load_together(filled, opened.prompts())[0].identity(amateur_of(plain.amateur)) == models.identity(
        amateur_of(plain.amateur)
    )


def test_the_name_of_the_texts_file_is_no_part_of_a_point(plain: RunConfig, tmp_path: Path) -> None:
    """What is in it is: a copy continues the same study."""
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((tmp_path / "texts.jsonl").read_bytes())
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("\n".join((tmp_path / "texts.jsonl").read_text().splitlines()[1:]))
    digests = []
    for path in (plain.amateur.lens_texts, str(copy), str(fewer)):
        opened = open_models(replace(plain, amateur=replace(plain.amateur, lens_texts=path), controls=False))
        prompts = opened.prompts()
        digests.append(
            [one.digest for one in plan_points([opened.config], opened.load(prompts).identity, prompts.prompts)]
        )
    assert digests[0] == digests[1] != digests[2]


def test_a_calibrated_temperature_is_fitted_to_texts_that_the_lens_has_not_seen(
    plain: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cdeval.prompts.texts.news", lambda: [text._replace(id=f"news-{i}") for i, text in enumerate(TEXTS * 4)]
    )
    monkeypatch.setattr("cdeval.prompts.texts.wiki", lambda _needed: [])
    config = replace(
        plain,
        amateur=LINEAR,
        contrast=ContrastConfig(temperature=CALIBRATED),
        prompts=PromptsConfig(PromptSource.news, prompt_tokens=4, limit=3),
    )
    opened = open_models(config)
    models = opened.load(opened.prompts())
    (lens,) = models.amateur_models.values()
    assert isinstance(lens, TunedLens)
    assert lens.facts["texts"] == "news_wiki (split tune)"
    ids = [prompt.id for prompt in opened.prompts().prompts]
    _, found = with_temperature(opened.config, models.expert, models.amateur_models, ids, print)
    assert found is not None
    assert found.texts <= len(TEXTS * 4) - len(lens.trained_on) - len(ids)


def test_random_weights_are_priced_with_a_lens_that_is_fitted_to_nothing(plain: RunConfig) -> None:
    opened = open_models(replace(plain, expert=replace(plain.expert, weights=Weights.random)))
    prompts = opened.prompts()
    models = opened.load(prompts)
    (lens,) = models.amateur_models.values()
    assert isinstance(lens, TunedLens)
    assert lens.translators[4].matrix.abs().sum() == 0


def test_what_cannot_be_fitted_is_refused_before_weights_are_read(plain: RunConfig) -> None:
    with pytest.raises(ModelError, match=r"amateur.layer=12 is outside .*: it has L=12 blocks"):
        open_models(replace(plain, amateur=replace(plain.amateur, layer=12)))
    news = PromptsConfig(PromptSource.news, split=Split.all)
    with pytest.raises(PromptError, match=r"prompts=news: with prompts.split=all every text may be a prompt"):
        open_models(replace(plain, prompts=news, amateur=replace(plain.amateur, lens_texts=None)))
