"""What an arm costs, beside the right control."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cdeval.config.exits import ConfidenceMeasure
from cdeval.config.setting import AdaptiveExit
from cdeval.cost.latency import Latency
from cdeval.cost.price import PricedArm, PricedText, Timed, price_arms
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import early_exit, setting

TEXT = PricedText(prompt_tokens=3, tokens=12)
SETTINGS = {
    "beam": setting(alpha=1.0, beta=0.0),
    "exit": early_exit(2),
    "greedy exit": early_exit(2, beams=1),
    "greedy": setting(alpha=1.0, beta=0.0, beams=1),
    "lonely exit": early_exit(2, beams=3),
}
ARMS = {label: PricedArm(one, [TEXT]) for label, one in SETTINGS.items()}


def timed(*seconds: float, **more: object) -> Latency:
    """Passes of two tokens, each so long."""
    return Latency(tuple(1.0 for _ in seconds), tuple((one, one) for one in seconds), **more)  # type: ignore[arg-type]


def test_latency_is_compared_under_the_same_search(tiny: Callable[[str], LanguageModel]) -> None:
    """A beam arm beside greedy search would look as slow as its beams are many."""
    took = {"beam": 5.5, "exit": 11.0, "greedy exit": 1.1, "greedy": 1.1, "lonely exit": 3.0}
    found = price_arms(tiny("llama"), ARMS, Timed({label: timed(one, one) for label, one in took.items()}))
    overhead = {label: costs["latency_overhead"] for label, costs in found.items()}
    assert overhead == pytest.approx(
        {"beam": 0, "exit": 1.0, "greedy exit": 0, "greedy": 0, "lonely exit": math.nan}, nan_ok=True
    )


def test_a_slow_moment_of_the_machine_is_no_overhead(tiny: Callable[[str], LanguageModel]) -> None:
    """Both arms are twice as slow in the second turn: paired, the overhead is 10 % in each, without any spread."""
    found = price_arms(tiny("llama"), ARMS, Timed({"beam": timed(1.0, 2.0), "exit": timed(1.1, 2.2)}))["exit"]
    assert found["latency_overhead"] == pytest.approx(0.1)
    assert found["latency_overhead_low"] == pytest.approx(0.1)
    assert found["decode_seconds_per_token"] == pytest.approx(1.65)
    assert found["decode_seconds_per_token_low"] < 0 < found["decode_seconds_per_token_high"] - 3


def test_memory_over_the_expert_alone(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    weights = sum(weight.numel() * 4 for weight in lm.model.parameters())
    latency = {"beam": timed(1.0, working_bytes=weights), "exit": timed(1.0, working_bytes=2.0 * weights)}
    found = price_arms(lm, ARMS, Timed(latency))
    assert found["exit"]["memory_bytes"] == 3 * weights
    assert found["exit"]["memory_overhead"] == pytest.approx(0.5)
    assert found["beam"]["memory_overhead"] == 0


def test_energy_is_unknown_without_a_counter_and_never_0(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    latency = {"beam": timed(1.0, 1.0, joules=(6.0, 6.0)), "exit": timed(1.0, 1.0, joules=(math.nan, math.nan))}
    found = price_arms(lm, ARMS, Timed(latency))
    assert found["beam"]["joules_per_token"] == pytest.approx(2.0), "a pass has three tokens"
    assert math.isnan(found["exit"]["joules_per_token"])
    assert math.isnan(found["greedy"]["joules_per_token"])


def test_bytes_moved_bound_the_time(tiny: Callable[[str], LanguageModel]) -> None:
    found = price_arms(tiny("llama"), ARMS, Timed(bandwidth=1e9))
    assert found["exit"]["bandwidth_seconds_per_token"] == found["exit"]["bytes_per_token"] / 1e9
    assert found["beam"]["bytes_overhead"] == 0
    assert found["exit"]["bytes_overhead"] > 0
    assert math.isnan(found["exit"]["latency_overhead"])


def test_the_dictionary_of_columns_has_every_cost_and_no_other(tiny: Callable[[str], LanguageModel]) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "columns.md").read_text("utf-8")
    rows = [line.split(" | ")[0] for line in text.split("\nCosts.")[1].splitlines() if line.startswith("| `")]
    stays = setting(alpha=1.0, beta=0.0, beams=1, adaptive_exit=AdaptiveExit(ConfidenceMeasure.softmax, 0.5, 4.0, (2,)))
    found = price_arms(tiny("llama"), ARMS | {"stops": PricedArm(stays, [TEXT._replace(exit_layers=(2,) * 11)])})
    names = {re.sub("_(low|high)$", "", name) for costs in found.values() for name in costs}
    assert names == {name for row in rows for name in re.findall("`([^`]+)`", row)}
