"""The tables of `cdeval.tune` on a narrow screen: nothing is wider than it, no number is broken."""

import math

from cdeval.config.grids import TunedArm
from cdeval.records import Estimate
from cdeval.tune.arms import TriedSetting, Tuned
from cdeval.tune.criterion import read_criterion
from cdeval.tune.curve import BestOf
from cdeval.tune.tables import tuning_lines

WAYS = {"diversity": 1, "coherence": 1}


def tuned(name: str, grid: str, value: float) -> Tuned:
    scores = {metric: Estimate(0.5, 0.4, 0.6, 20, 0) for metric in WAYS}
    tried = TriedSetting(("contrast.n_sigma=0.75", "search.temperature=1.5"), name, name, scores, value)
    curve = [BestOf(n, value, 0.111, 0.999, 1.0) for n in range(1, 13)]
    best = None if math.isnan(value) else 0
    return Tuned(TunedArm(f"{name} {grid}", (f"+arm={name}",), (tried.overrides,)), [tried], best, curve)


def test_at_80_columns_every_number_is_whole() -> None:
    arms = [tuned("contrast_top_n_sigma", "contrast.beta=0.05,0.1,0.15,0.2,0.25,0.3,0.4,0.5,0.6,0.75,1,1.5", 0.461)]
    arms += [tuned("nucleus", "", 0.25), tuned("typical", "", math.nan)]
    lines = tuning_lines(arms, read_criterion("diversity*coherence", {}, WAYS), 80)
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert words.count("0.461") == 1 + 5, "chosen, and the best of 1, 2, 4, 8 and 12"
    assert words.count("0.111–0.999") == 2 * 5, "the third arm has no curve"
    assert {"contrast_top_n_sigma", "contrast.n_sigma=0.75", "search.temperature=1.5", "typical"} <= set(words)
    assert "0.05,0.1" not in " ".join(lines), "a grid is no name"
