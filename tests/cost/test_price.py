"""What an arm costs, beside the right control."""

from collections.abc import Callable, Mapping

import pytest

from cdeval.cost import price
from cdeval.cost.latency import Latency
from cdeval.cost.price import Arm, price_arms
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation, Setting
from tests.decode.oracles import early_exit, setting

TEXT = Generation("a", "", (2, 3, 4), None, "", tuple(range(12)), None, None)


def test_latency_is_compared_under_the_same_search(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beam arm beside greedy search would look as slow as its beams are many."""
    took = {"beam": 5.5, "exit": 11.0, "greedy exit": 1.1, "greedy": 1.1, "lonely exit": 3.0}  # seconds of 11 tokens

    def measured(_expert: LanguageModel, settings: Mapping[str, Setting], *_: object) -> dict[str, Latency]:
        return {label: Latency((1.0,), (took[label],), one.max_new_tokens, 30) for label, one in settings.items()}

    monkeypatch.setattr(price, "measure", measured)
    settings = {
        "beam": setting(alpha=1.0, beta=0.0),
        "exit": early_exit(2),
        "greedy exit": early_exit(2, beams=1),
        "greedy": setting(alpha=1.0, beta=0.0, beams=1),
        "lonely exit": early_exit(2, beams=3),
    }
    found = price_arms(tiny("llama"), {label: Arm(one, [TEXT]) for label, one in settings.items()}, 1, 8)
    overhead = {label: costs["latency_overhead"] for label, costs in found.items()}
    assert overhead == pytest.approx(
        {"beam": 0, "exit": 1.0, "greedy exit": 0, "greedy": 0, "lonely exit": float("nan")}, nan_ok=True
    )
