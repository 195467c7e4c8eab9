"""Kinds of amateurs and rules of plausibility from outside the package, in every search."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cdeval.config.amateur import AMATEURS, Amateur
from cdeval.config.enums import Normalizer, SearchKind
from cdeval.config.plausibility import Plausibility
from cdeval.config.setting import Sampling, Setting
from cdeval.decode.engine import decode_batch
from cdeval.decode.finite import not_finite
from cdeval.decode.lanes import Continuation, Lane
from cdeval.decode.objective import contrast, objective_settings, plausibility
from cdeval.decode.trace import trace_text
from cdeval.errors import ConfigError, ModelError
from cdeval.models.loading import LanguageModel
from cdeval.records import Prompt
from tests.decode.oracles import early_exit, setting
from tests.plugged import plugged

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]
BLURRED = Amateur("blurred", settings=(("share", 0.4),))
SHAPES: dict[SearchKind, dict[str, object]] = {
    SearchKind.beam: {"beams": 3},
    SearchKind.greedy: {"beams": 1},
    SearchKind.sample: {"beams": 1, "sampling": Sampling(seed=3)},
}


@pytest.fixture(autouse=True)
def mine(tmp_path: Path) -> Iterator[Path]:
    with plugged(tmp_path) as path:
        yield path


@pytest.fixture
def lm(tiny: Callable[[str], LanguageModel]) -> LanguageModel:
    return tiny("llama")


def decoded(lm: LanguageModel, *hows: Setting) -> list[Continuation]:
    return decode_batch(lm, [Lane(prompt, how, str(prompt)) for prompt in PROMPTS for how in hows], 4)[0]


def near_best(gap: float) -> Plausibility:
    return Plausibility("near_best", (("gap", gap),))


def shaped(kind: SearchKind, **changes: object) -> Setting:
    return early_exit(2, **{"search": kind, **SHAPES[kind], **changes})


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("normalizer", list(Normalizer))
def test_a_rule_of_a_gap_is_the_alpha_rule_of_its_exponential(
    kind: SearchKind, normalizer: Normalizer, lm: LanguageModel
) -> None:
    """Also beside each other in one batch, where both keep their own."""
    alpha = shaped(kind, alpha=0.2, normalizer=normalizer)
    gap = shaped(kind, alpha=1.0, normalizer=normalizer, plausibility=near_best(-math.log(0.2)))
    strict = shaped(kind, alpha=0.9, normalizer=normalizer)
    own = [decoded(lm, how) for how in (alpha, gap, strict)]
    assert [text.token_ids for text in own[1]] == [text.token_ids for text in own[0]]
    fused = decoded(lm, alpha, gap, strict)
    assert [text.token_ids for text in fused] == [text.token_ids for texts in zip(*own, strict=True) for text in texts]
    assert [text.token_ids for text in own[2]] != [text.token_ids for text in own[0]]


def test_the_likeliest_token_stays_and_so_many_more_as_are_asked_for() -> None:
    log_expert = torch.tensor([[[0.5, 0.2, 0.1, 0.0]]]).log().expand(3, 1, 4)
    hows = [
        early_exit(1, plausibility=Plausibility("nothing")),
        early_exit(1, plausibility=Plausibility("nothing"), min_tokens=2),
        early_exit(1, plausibility=near_best(100.0), min_tokens=4),
    ]
    _, implausible = plausibility(log_expert, objective_settings(hows, torch.device("cpu")))
    assert implausible[:, 0].tolist() == [
        [False, True, True, True],
        [False, False, True, True],
        [False, False, False, True],  # what is impossible is not plausible
    ]
    broken = log_expert.clone()
    broken[0] = math.nan
    assert contrast(broken, torch.zeros(3, 1, 4), objective_settings(hows, torch.device("cpu")))[0].isnan().all()


@pytest.mark.parametrize("kind", SHAPES)
def test_an_amateur_writes_the_same_beside_others_and_alone(kind: SearchKind, lm: LanguageModel) -> None:
    blurred = setting(amateur=BLURRED, search=kind, **{"sampling": Sampling(seed=3), **SHAPES[kind]})
    together = decoded(lm, blurred, shaped(kind))
    alone = [decode_batch(lm, [Lane(prompt, blurred, str(prompt))], 4)[0][0] for prompt in PROMPTS]
    assert [text.token_ids for text in together[::2]] == [text.token_ids for text in alone]
    assert [text.token_ids for text in alone] != [text.token_ids for text in decoded(lm, shaped(kind))]
    another = setting(amateur=BLURRED, search=kind, **{**SHAPES[kind], "sampling": Sampling(seed=4)})
    assert [text.score for text in decoded(lm, another)] != [text.score for text in alone]


def test_a_blurred_amateur_is_the_naive_one(lm: LanguageModel) -> None:
    """A share of 1 makes it flat, so only the expert and a constant are left; 0 makes it the expert itself."""
    shape = {"search": SearchKind.greedy, "beams": 1, "temperature": 1.0}
    flat = decoded(lm, setting(amateur=Amateur("blurred", settings=(("share", 1.0),)), **shape))
    assert [text.token_ids for text in flat] == [text.token_ids for text in decoded(lm, setting(**shape))]
    for text in decoded(lm, setting(amateur=Amateur("blurred", settings=(("share", 0.0),)), **shape)):
        assert text.score == pytest.approx(0.0, abs=1e-3)


def test_a_class_has_a_cache_of_its_own_and_follows_the_beams(lm: LanguageModel) -> None:
    """It compares its logits with the expert's at every step."""
    texts, stats = decode_batch(lm, [Lane(one, setting(amateur=Amateur("itself"), beams=3)) for one in PROMPTS], 2)
    assert stats.amateur_slots > len(PROMPTS[0])
    assert all(text.fault is None for text in texts)


def test_a_trace_shows_what_a_plug_in_weighed(lm: LanguageModel) -> None:
    how = setting(amateur=BLURRED, plausibility=near_best(0.5), beams=2, max_new_tokens=4)
    found = trace_text(lm, Prompt("a", "text", PROMPTS[0], None, None), how)
    assert found.label.startswith("blurred share=0.4 near_best gap=0.5 β=1")
    assert all(1 <= step.plausible < 128 and step.chosen.log_amateur is not None for step in found.steps)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"amateur": Amateur("raises", settings=(("depth", 2),))},
            "amateur=raises ({}:52) raised RuntimeError: no depth 2",
        ),
        ({"amateur": Amateur("narrow")}, "amateur=narrow ({}:57) returned torch.float32 [3, 1, 3]: expected logits"),
        (
            {"amateur": BLURRED, "plausibility": Plausibility("numbers")},
            "contrast.plausibility=numbers ({}:67) returned torch.float32",
        ),
    ],
)
def test_what_breaks_is_named_with_its_line(
    how: dict[str, object], message: str, mine: Path, lm: LanguageModel
) -> None:
    with pytest.raises(ModelError) as caught:
        decoded(lm, setting(**how))
    assert message.format(mine) in str(caught.value)


def test_logits_that_are_not_finite_name_their_plug_in(mine: Path, lm: LanguageModel) -> None:
    how = setting(amateur=Amateur("nans"))
    good, bad = decode_batch(lm, [Lane(PROMPTS[0], setting()), Lane(PROMPTS[0], how)], 4)[0]
    assert good.fault is None
    assert bad.fault is not None
    assert f"{mine}:62" in str(not_finite(bad.fault, lm, "text", how))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('@amateur("odd")\ndef odd(logits, depth): ...', "takes logits, depth: expected logits or uniform"),
        ('@amateur("odd", depth=1)\ndef odd(logits): ...', "and its settings depth"),
        ('@amateur("odd", depth=[1])\ndef odd(logits, depth): ...', "depth has the default [1]: expected a number"),
        ('@amateur("odd")\nclass Odd: ...', "has no method prefill"),
        ('@amateur("dola")\ndef odd(logits): ...', "amateur=dola ({}:2) is a name of cdeval's own"),
        ('@amateur("ngram")\ndef odd(logits): ...', "amateur=ngram"),
        ('@plausibility("alpha")\ndef odd(log_expert): ...', "is registered twice"),
        ('@plausibility("odd")\ndef odd(gap): ...', "takes gap: expected log_expert"),
    ],
)
def test_code_that_is_no_method_is_refused(code: str, message: str, tmp_path: Path) -> None:
    AMATEURS["none"]  # ours are there
    folder = tmp_path / "other"
    folder.mkdir()
    source = f"from cdeval import amateur, plausibility\n{code}\n"
    with pytest.raises(ConfigError) as caught, plugged(folder, source):
        pass
    assert message.format(folder / "mine.py") in str(caught.value)
