"""Texts under every rule: with an amateur and without one, in every search, beside others and alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cdeval.config.enums import Normalizer, SearchKind
from cdeval.config.setting import Sampling, Setting
from cdeval.decode import choosing, engine
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.decode.trace import trace_text
from cdeval.models.loading import LanguageModel
from cdeval.records import Prompt
from tests.decode.oracles import early_exit, naive_sample, naive_search, setting
from tests.decode.plausibility.definitions import CASES
from tests.decode.plausibility.test_rules import NAMES, rule_of

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]
SHAPES: dict[SearchKind, dict[str, Any]] = {
    SearchKind.beam: {"search": SearchKind.beam, "beams": 3},
    SearchKind.greedy: {"search": SearchKind.greedy, "beams": 1},
    SearchKind.sample: {"search": SearchKind.sample, "beams": 1, "sampling": Sampling(seed=3)},
}
RULES = [rule_of(*case) for case in CASES[::2]]


def without(kind: SearchKind, **changes: Any) -> Setting:
    """The expert alone."""
    return setting(**{"max_new_tokens": 5, **SHAPES[kind], **changes})


def contrasted(kind: SearchKind, **changes: Any) -> Setting:
    return early_exit(2, **{"max_new_tokens": 5, "temperature": 1.0, **SHAPES[kind], **changes})


def lanes_of(settings: list[Setting]) -> list[Lane]:
    """Each setting on a prompt, in turn."""
    return [Lane(PROMPTS[i % 3], how, f"p{i % 3}") for i, how in enumerate(settings)]


def decoded(lm: LanguageModel, *settings: Setting) -> list[Continuation]:
    """All on the first prompt, together."""
    return decode_batch(lm, [Lane(PROMPTS[0], how, "p") for how in settings], 4)[0]


def naive(lm: LanguageModel, lane: Lane) -> tuple[tuple[int, ...], float]:
    if lane.setting.search is SearchKind.sample:
        return naive_sample(lm, lane)[:2]
    return naive_search(lm, lane.prompt, lane.setting)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("normalizer", list(Normalizer))
def test_a_text_is_the_naive_one(
    kind: SearchKind, normalizer: Normalizer, tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rules in one pass, against full re-computation of each alone; the candidate-only head among them."""
    lm = tiny("llama")
    monkeypatch.setattr(choosing, "CANDIDATES", 8)
    hows = [contrasted(kind, alpha=1.0, plausibility=rule, normalizer=normalizer) for rule in RULES]
    hows.append(contrasted(kind, alpha=0.05, normalizer=normalizer))
    if normalizer is Normalizer.full:
        hows += [without(kind, plausibility=rule) for rule in RULES] + [without(kind)]
    lanes = lanes_of(hows)
    for lane, found in zip(lanes, decode_batch(lm, lanes, 2)[0], strict=True):
        tokens, score = naive(lm, lane)
        assert found.token_ids == tokens, lane.setting.plausibility
        assert found.score == pytest.approx(score, abs=1e-3)
        assert found.fault is None


@pytest.mark.parametrize("asked", ["at every step", "at the end"])
def test_the_candidate_only_head_sees_what_the_whole_vocabulary_says(
    asked: str, tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws are the same by the whole head. Typical sets are no prefix of the likeliest tokens, and found all the same;
    the host looks further at once, or decodes again where more tokens were plausible than it looked at."""
    monkeypatch.setattr(engine, "ASKED_AT_EVERY_STEP", ("cpu",) if asked == "at every step" else ())
    monkeypatch.setattr(choosing, "CANDIDATES", 8)
    lm = tiny("gpt2")
    for rule in [*RULES, rule_of("typical", {"typical_p": 0.6}), rule_of("top_k", {"top_k": 8})]:
        whole = contrasted(SearchKind.sample, alpha=1.0, plausibility=rule)
        narrow = replace(whole, normalizer=Normalizer.candidates)
        one, other = (
            [decode_batch(lm, [Lane(prompt, how, "p")], 4)[0][0].token_ids for prompt in PROMPTS]
            for how in (whole, narrow)
        )
        assert one == other, rule


def test_the_narrow_head_stays_narrow_where_a_rule_leaves_few_tokens(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, seen = tiny("gpt2"), []
    monkeypatch.setattr(choosing, "CANDIDATES", 8)
    whole = type(lm.parts).logits_of

    def watched(parts: object, finished: Any, tokens: Any) -> Any:
        seen.append(tokens.shape[-1])
        return whole(parts, finished, tokens)

    monkeypatch.setattr(type(lm.parts), "logits_of", watched)
    rule = rule_of("top_k", {"top_k": 8})
    decoded(lm, contrasted(SearchKind.greedy, plausibility=rule, normalizer=Normalizer.candidates))
    assert set(seen) == {8}


@pytest.mark.parametrize("kind", SHAPES)
def test_min_p_without_an_amateur_is_alpha_with_beta_0(kind: SearchKind, tiny: Callable[[str], LanguageModel]) -> None:
    """Texts, scores and log-probabilities."""
    long = {"max_new_tokens": 12}
    masked = without(kind, plausibility=rule_of("min_p", {"min_p": 0.3}), **long)
    # Two lanes at a time: so many are worked out together on a CPU, and others may differ by rounding.
    lm, free = tiny("llama"), without(kind, **long)
    alone, alpha = decoded(lm, masked, contrasted(kind, alpha=0.3, beta=0.0, **long))
    assert alone == alpha
    alone, free_text = decoded(lm, masked, free)
    assert (alone == free_text) == (kind is not SearchKind.sample), "the likeliest tokens are plausible anyway"


@pytest.mark.parametrize(
    ("rule", "sampling"),
    [
        (("min_p", {"min_p": 0.3}), {"min_p": 0.3}),
        (("top_k", {"top_k": 6}), {"top_k": 6}),
        (("nucleus", {"top_p": 0.4}), {"top_p": 0.4}),
        (("typical", {"typical_p": 0.3}), {"typical_p": 0.3}),
        (("eta", {"eta": 0.4}), {"eta": 0.4}),
    ],
    ids=str,
)
def test_without_an_amateur_a_rule_is_the_sampling_of_its_name(
    rule: tuple[str, dict[str, Any]], sampling: dict[str, Any], tiny: Callable[[str], LanguageModel]
) -> None:
    """Draw for draw, while the expert's own distribution is drawn from otherwise."""
    lm, tokens = tiny("llama"), 12
    masked = without(SearchKind.sample, plausibility=rule_of(*rule), max_new_tokens=tokens)
    warped = without(SearchKind.sample, sampling=Sampling(seed=3, **sampling), max_new_tokens=tokens)
    plain = without(SearchKind.sample, max_new_tokens=tokens)
    one, other, free = decoded(lm, masked, warped, plain)
    assert one == other
    assert one.token_ids != free.token_ids, "the rule left everything: the test saw nothing"


@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_a_rule_may_be_watched(name: str, settings: dict[str, Any], tiny: Callable[[str], LanguageModel]) -> None:
    """A trace counts what the rule leaves, with and without an amateur."""
    lm, rule = tiny("gpt2"), rule_of(name, settings)
    for how in (without(SearchKind.beam, plausibility=rule), contrasted(SearchKind.beam, plausibility=rule)):
        found = trace_text(lm, Prompt("a", "text", PROMPTS[0], None, None), how)
        assert all(step.plausible >= 1 for step in found.steps)
        assert found.label.startswith("early_exit k=2 " if how.amateur.contrasts else "expert alone ")
        if name == "top_k":
            assert {step.plausible for step in found.steps} == {settings["top_k"]}


def test_contrastive_search_has_no_rule(tiny: Callable[[str], LanguageModel]) -> None:
    how = setting(search=SearchKind.contrastive_search, beams=3, plausibility=RULES[0])
    with pytest.raises(ValueError, match="no rule of plausibility"):
        decoded(tiny("gpt2"), how)
