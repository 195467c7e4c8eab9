"""Lenses and chosen exits, against full re-computation for every prefix, and beside each other."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Normalizer, SearchKind
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.setting import Setting
from cdeval.decode.amateurs import early_exit as exits
from cdeval.decode.amateurs.batch import Amateurs
from cdeval.decode.amateurs.early_exit import Exits
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.lens import Translator, TunedLens, tuned_lens
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import truncate
from tests.decode.oracles import (
    blocks_and_logits,
    chosen_exit,
    chosen_layer,
    early_exit,
    exit_logits,
    naive_search,
    setting,
)

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]
GREEDY: dict[str, object] = {"search": SearchKind.greedy, "beams": 1}


def random_lens(scale: float = 0.1) -> TunedLens:
    """Translators of all exits of a tiny model, far from the identity."""
    draw = torch.Generator().manual_seed(7)
    return tuned_lens(
        {
            k: Translator(*(scale * torch.randn(shape, generator=draw) for shape in ((32, 32), (32,))))
            for k in (1, 2, 3)
        },
        {},
    )


LENS = random_lens()
JSD = chosen_exit((1, 2, 3), selection=Selection.jsd)
DOLA = chosen_exit((1, 3), Lens.raw, selection=Selection.jsd)
SURE = chosen_exit((1, 2, 3), selection=Selection.confidence, measure=ConfidenceMeasure.softmax, threshold=0.3)
SATURATED = chosen_exit((1, 2, 3), selection=Selection.confidence, measure=ConfidenceMeasure.saturation, threshold=0.75)
TUNED = Amateur("early_exit", 2, lens=Lens.tuned, lens_file="a")
TUNED_JSD = chosen_exit((2, 3), Lens.tuned, "a", selection=Selection.jsd)
TUNED_SATURATED = chosen_exit(
    (2, 3), Lens.tuned, "a", selection=Selection.confidence, measure=ConfidenceMeasure.saturation, threshold=0.75
)
RAW = Amateur("early_exit", 2, lens=Lens.raw)
CHOSEN = {"jsd": JSD, "dola": DOLA, "softmax": SURE, "saturation": SATURATED}
MODELS: Mapping[Amateur, AmateurModel] = {amateur: LENS for amateur in (TUNED, TUNED_JSD, TUNED_SATURATED)}


def run(lm: LanguageModel, settings: Sequence[Setting], compact_every: int = 4) -> list[Continuation]:
    """Prompt by prompt, the settings side by side, all in one batch."""
    found, _ = decode_batch(
        lm, [Lane(prompt, how) for prompt in PROMPTS for how in settings], compact_every, amateur_models=MODELS
    )
    return found


def check(lm: LanguageModel, how: Setting) -> None:
    translators = LENS.translators if how.amateur.lens is Lens.tuned else {}
    for prompt, found in zip(PROMPTS, run(lm, [how]), strict=True):
        tokens, score = naive_search(lm, prompt, how, translators)
        assert found.token_ids == tokens
        assert found.score == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("amateur", [RAW, TUNED], ids=["raw", "tuned"])
@pytest.mark.parametrize("shape", [{}, GREEDY], ids=["beam", "greedy"])
def test_a_lens_is_the_naive_one(two_tiny: LanguageModel, amateur: Amateur, shape: dict[str, object]) -> None:
    check(two_tiny, setting(amateur=amateur, temperature=0.5, max_new_tokens=8, **shape))


@pytest.mark.parametrize("amateur", CHOSEN.values(), ids=CHOSEN)
@pytest.mark.parametrize("shape", [{}, GREEDY], ids=["beam", "greedy"])
def test_a_choice_is_the_naive_one(two_tiny: LanguageModel, amateur: Amateur, shape: dict[str, object]) -> None:
    check(two_tiny, setting(amateur=amateur, temperature=0.5, max_new_tokens=8, **shape))


@pytest.mark.parametrize("amateur", [TUNED_JSD, TUNED_SATURATED], ids=["jsd", "saturation"])
@pytest.mark.parametrize("architecture", ["gpt2", "opt_projected", "gemma2"])
def test_a_choice_through_a_tuned_lens_is_the_naive_one(
    architecture: str, amateur: Amateur, tiny: Callable[[str], LanguageModel]
) -> None:
    check(tiny(architecture), setting(amateur=amateur, max_new_tokens=8))


@pytest.mark.parametrize("amateur", CHOSEN.values(), ids=CHOSEN)
def test_the_oracle_chooses_different_layers(amateur: Amateur, tiny: Callable[[str], LanguageModel]) -> None:
    """Else a choice that is always the first candidate would pass the tests above."""
    chosen = set()
    for architecture in ("gpt2", "llama", "phi", "opt"):
        lm, how = tiny(architecture), setting(amateur=amateur, **GREEDY)
        for prompt in PROMPTS:
            text = prompt + naive_search(lm, prompt, how)[0]
            for step in range(how.max_new_tokens):
                blocks, logits = blocks_and_logits(lm, text[: len(prompt) + step])
                views = {k: exit_logits(lm, blocks[k - 1], amateur.lens) for k in amateur.exits}
                chosen.add(chosen_layer(amateur, step, how.max_new_tokens, blocks, views, logits.softmax(-1)))
    assert len(chosen) > 1, chosen


def test_lanes_of_all_lenses_and_choices_do_not_feel_each_other(tiny: Callable[[str], LanguageModel]) -> None:
    """Rows are ordered by how they are chosen, and come back in the order of the lanes."""
    lm = tiny("opt")
    truncated = Amateur("truncated", 1)
    amateur_models = {**MODELS, truncated: truncate(lm, 1)}
    amateurs = [JSD, RAW, SATURATED, TUNED, Amateur(), SURE, DOLA, truncated, TUNED_SATURATED, TUNED_JSD]
    settings = [setting(amateur=amateur) for amateur in amateurs] + [early_exit(2), early_exit(1)]
    lanes = [Lane(prompt, how) for prompt in PROMPTS for how in settings]
    together, _ = decode_batch(lm, lanes, 3, amateur_models=amateur_models)
    for lane, found in zip(lanes, together, strict=True):
        (alone,), _ = decode_batch(lm, [lane], 0, amateur_models=amateur_models)
        assert found.token_ids == alone.token_ids
        assert found.score == pytest.approx(alone.score, abs=1e-3)
    assert len({found.token_ids for found in together[: len(settings)]}) > 4, "the amateurs make no difference"


def test_a_lens_that_changes_nothing_is_the_final_norm(any_tiny: LanguageModel) -> None:
    """From where training starts: A = 0, b = 0."""
    nothing = random_lens(0.0)
    how = setting(amateur=TUNED, temperature=0.5)
    found, _ = decode_batch(any_tiny, [Lane(prompt, how) for prompt in PROMPTS], 4, amateur_models={TUNED: nothing})
    plain = run(any_tiny, [early_exit(2)])
    assert [answer.token_ids for answer in found] == [answer.token_ids for answer in plain]


@pytest.mark.parametrize("amateur", [RAW, TUNED, SATURATED, JSD], ids=["raw", "tuned", "saturation", "jsd"])
@pytest.mark.parametrize("alpha", [0.2, 1e-9])
def test_the_candidate_only_head_takes_lenses_and_choices(
    amateur: Amateur, alpha: float, tiny: Callable[[str], LanguageModel]
) -> None:
    """jsd compares whole distributions: it must fall back to the full head."""
    how = setting(amateur=amateur, alpha=alpha, normalizer=Normalizer.candidates, max_new_tokens=8)
    assert Amateurs([Lane((1,), how)], tiny("opt_projected"), MODELS).only_candidates == (amateur is not JSD)
    check(tiny("opt_projected"), how)


def test_one_layer_for_all_lanes_is_read_as_it_lies(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The speed path: what the hook kept goes to the norm itself, not a copy of it."""
    lm = tiny("llama")
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        exits, "seen_through", lambda lens, parts, hidden, translator: seen.append(hidden) or parts.finish(hidden)
    )
    tapped = {2: torch.randn(3, 5, 32)}
    (rows,) = Exits([early_exit(2), early_exit(2, alpha=0.3), early_exit(2)], lm, {}).rows(tapped, 0)
    assert seen[0] is tapped[2]
    assert torch.equal(rows, lm.parts.finish(tapped[2]))
