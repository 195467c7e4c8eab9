"""Each rule against its definition and the processor of transformers of that name; what all rules have in common."""

import math
from typing import Any

import pytest
import torch
from transformers import (
    EtaLogitsWarper,
    LogitsProcessor,
    MinPLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from cdeval.config.plausibility import RULES, Plausibility
from cdeval.config.schema import ContrastConfig
from cdeval.decode.objective import objective_settings, plausibility
from tests.decode.oracles import early_exit
from tests.decode.plausibility.definitions import CASES, DEFINED, Kept

CPU = torch.device("cpu")
NAMES = [" ".join([name, *map(str, settings.values())]) for name, settings in CASES]


def rule_of(name: str, settings: dict[str, Any]) -> Plausibility:
    """The rule as a setting has it."""
    return Plausibility(name, tuple(settings.items()))


def rows(kind: str) -> torch.Tensor:
    """Log-probabilities [row, token], from nearly flat to nearly sure; float64 sums to one differently."""
    torch.manual_seed(1)
    logits = torch.randn(24, 300) * torch.linspace(0.02, 6, 24)[:, None]
    if kind == "banned":  # not re-normalised, in the last rows nearly nothing is left
        logits = logits.log_softmax(-1)
        logits[:, ::3] = -math.inf
        logits[20:, 2:] = -math.inf
    return logits if kind == "banned" else logits.log_softmax(-1)


def kept(log_p: torch.Tensor, *rules: Plausibility) -> list[Kept]:
    """What each row may say, by the objective: one lane a row, one rule a lane."""
    settings = [early_exit(1, alpha=1.0, plausibility=rule) for rule in rules]
    found = plausibility(log_p[:, None], objective_settings(settings, CPU))
    return [set((~row).nonzero()[:, 0].tolist()) for row in found.implausible[:, 0]]


def test_every_rule_of_ours_has_a_definition_and_cases() -> None:
    ours = {name for name, rule in RULES._known().items() if rule.origin is None}
    assert ours == set(DEFINED)
    assert {name for name, _ in CASES} == ours - {"alpha"}
    for name, settings in CASES:
        assert [key for key, _ in RULES[name].values(ContrastConfig())] == list(settings)


@pytest.mark.parametrize("kind", ["plain", "banned"])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_a_rule_is_its_definition(name: str, settings: dict[str, Any], kind: str) -> None:
    """Of the tokens that may be said, re-normalised."""
    log_p = rows(kind)
    found = kept(log_p, *[rule_of(name, settings)] * len(log_p))
    expected = [DEFINED[name](row.double().tolist(), **settings) for row in log_p]
    assert found == expected
    assert len({len(one) for one in found}) > 1 or name in ("top_k", "all") or settings == {"min_p": 1.0}


@pytest.mark.parametrize("kind", ["plain", "banned"])
@pytest.mark.parametrize(
    ("name", "settings", "theirs"),
    [
        ("min_p", {"min_p": 0.05}, MinPLogitsWarper(0.05)),
        ("top_k", {"top_k": 30}, TopKLogitsWarper(30)),
        ("nucleus", {"top_p": 0.9}, TopPLogitsWarper(0.9)),
        ("typical", {"typical_p": 0.2}, TypicalLogitsWarper(0.2)),
        ("typical", {"typical_p": 0.9}, TypicalLogitsWarper(0.9)),
        ("eta", {"eta": 0.01}, EtaLogitsWarper(0.01)),
        ("top_h", {"h": 0.4, "top_h_form": "cumulative"}, TopHLogitsWarper(0.4)),
        ("top_h", {"h": 0.8, "top_h_form": "cumulative"}, TopHLogitsWarper(0.8)),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, LogitsProcessor) else str(one),
)
def test_a_rule_is_the_processor_of_transformers(
    name: str, settings: dict[str, Any], theirs: LogitsProcessor, kind: str
) -> None:
    log_p = rows(kind)
    left = theirs(torch.empty(0), log_p.clone())
    expected = [set((row > -math.inf).nonzero()[:, 0].tolist()) for row in left]
    assert kept(log_p, *[rule_of(name, settings)] * len(log_p)) == expected


def test_top_h_as_documented_is_another_rule_than_as_coded() -> None:
    """Worked by hand: H(.5 .25 .25) = 1.040. The first token has -p log p = .347, the first two .693; re-normalised,
    two thirds and one third, they have .637."""
    row = torch.tensor([[0.5, 0.25, 0.25 - 1e-4, 1e-4]]).log()

    def by(h: float, form: str) -> Kept:
        return kept(row, rule_of("top_h", {"h": h, "top_h_form": form}))[0]

    assert by(0.63, "cumulative") == {0}
    assert by(0.63, "renormalised") == {0, 1}
    assert by(0.68, "cumulative") == by(0.68, "renormalised") == {0, 1}


@pytest.mark.parametrize("n", [0.5, 1.0, 3.0])
def test_top_n_sigma_is_the_alpha_rule_of_each_rows_own_deviation(n: float) -> None:
    """Token by token, also in logits of other sizes and at other temperatures, which only scale σ."""
    for scale in (1.0, 7.0):
        logits = (rows("plain") * scale)[:, None]
        sigma = logits.double().std(dim=-1, correction=0)
        alphas = [math.exp(-n * float(one)) for one in sigma]
        by_alpha = plausibility(
            logits, objective_settings([early_exit(1, alpha=one) for one in alphas], CPU)
        ).implausible
        ours = early_exit(1, alpha=1.0, plausibility=rule_of("top_n_sigma", {"n_sigma": n}))
        assert torch.equal(plausibility(logits, objective_settings([ours] * len(logits), CPU)).implausible, by_alpha)


@pytest.mark.parametrize("temperature", [0.3, 10.0])
def test_rules_of_logits_do_not_depend_on_the_temperature(temperature: float) -> None:
    """The cliff, and distances in standard deviations, are where they were."""
    log_p = rows("plain")
    for rule in (rule_of("min_k", {"min_k_tau": 0.0}), rule_of("top_n_sigma", {"n_sigma": 1.5})):
        own = [rule] * len(log_p)
        assert kept((log_p / temperature).log_softmax(-1), *own) == kept(log_p, *own)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_no_rule_leaves_nothing(name: str, settings: dict[str, Any]) -> None:
    """Of one token that may be said it is that one; of equal ones at least one; of NaN nothing is hidden."""
    sure = torch.full((1, 200), -math.inf)
    sure[0, 7] = -3.0
    assert kept(sure, rule_of(name, settings)) == [{7}]
    assert kept(torch.zeros(1, 200).log_softmax(-1), rule_of(name, settings))[0]
    for log_p in rows("plain").split(1):
        (found,) = kept(log_p, rule_of(name, settings))
        assert int(log_p.argmax()) in found or name == "typical"
    nan = torch.full((1, 200), math.nan)
    assert len(kept(nan, rule_of(name, settings))[0]) == 200


def test_lanes_with_other_rules_and_settings_keep_their_own() -> None:
    """All of them beside alpha in one call."""
    rules = [Plausibility("alpha"), *(rule_of(*case) for case in CASES)]
    log_p = rows("plain")[[3 + i % 12 for i in range(len(rules))]]
    settings = [early_exit(1, alpha=0.2 if rule.rule == "alpha" else 1.0, plausibility=rule) for rule in rules]
    together = plausibility(log_p[:, None], objective_settings(settings, CPU)).implausible
    for lane, one in enumerate(settings):
        alone = plausibility(log_p[lane : lane + 1, None], objective_settings([one], CPU)).implausible
        assert torch.equal(together[lane], alone[0]), rules[lane]


def test_settings_of_the_contrast_that_widen_a_rule_and_cut_before_it() -> None:
    log_p = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05, 0.0]]).log()[:, None]
    narrow = rule_of("top_k", {"top_k": 1})
    wide = rule_of("nucleus", {"top_p": 0.8})

    def left(**changes: Any) -> list[int]:
        found = plausibility(log_p, objective_settings([early_exit(1, alpha=1.0, **changes)], CPU))
        return (~found.implausible[0, 0]).nonzero()[:, 0].tolist()

    assert left(plausibility=narrow, min_tokens=3) == [0, 1, 2]
    assert left(plausibility=narrow, min_tokens=9) == [0, 1, 2, 3, 4]
    assert left(plausibility=wide) == [0, 1, 2]
    assert left(plausibility=wide, expert_top_k=3) == [0, 1]  # of .59, .24, .18
