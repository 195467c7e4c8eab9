"""Drafting by formula: by hand, against simulated cycles, and at its ends."""

import random
from dataclasses import replace

import pytest

from cdeval.cost.drafting import MOST_DRAFTS, Accepted, drafting, speed_up
from cdeval.cost.traffic import TokenBytes

COSTS = TokenBytes(
    blocks=1000, head=300, head_token=2, logits=50, slot=8, translator=11, by_block=(250,) * 4, key_value=20
)


def test_by_hand() -> None:
    """Two drafts by one block, at a context of 10: 20 bytes of keys and values a block."""
    step = 4 * 270 + 300 + 4 * 50
    cycle = 2 * (270 + 300 + 2 * 50) + step + 2 * 2 * 50
    assert speed_up(COSTS, 1, 0.5, 10, 2, translates=False) == pytest.approx(1.75 * step / cycle)
    through = speed_up(COSTS, 1, 0.5, 10, 2, translates=True)
    assert through == pytest.approx(1.75 * (step + 11) / (cycle + 3 * 11)), "every step reads the lens, and every draft"


@pytest.mark.parametrize(("accepted", "drafts"), [(0.3, 1), (0.6, 3), (0.9, 8)])
def test_simulated_cycles_yield_as_many_tokens(accepted: float, drafts: int) -> None:
    """Drafts are kept up to the first that is refused; one token more is the expert's."""
    draw, tokens, cycles = random.Random(1), 0, 20_000
    for _ in range(cycles):
        kept = 0
        while kept < drafts and draw.random() < accepted:
            kept += 1
        tokens += kept + 1
    plain = replace(COSTS, head=0, logits=0, slot=0)  # one block of four drafts: the bytes of a cycle are of blocks
    blocks = (drafts * 250 + 1000) / 1000
    found = speed_up(plain, 1, accepted, 0, drafts, translates=False) * blocks
    assert found == pytest.approx(tokens / cycles, rel=0.02)


def test_the_best_number_of_drafts() -> None:
    """Nothing accepted: one draft, and slower for it. All accepted: as many as are tried, and faster."""
    never, always = drafting(COSTS, [Accepted(1, "norm", 0.0, 1.0), Accepted(2, "linear", 1.0, 1.0)], 4, 10)
    assert (never.greedy.drafts, never.sampling.drafts) == (1, MOST_DRAFTS)
    assert never.greedy.speed_up < 1 < never.sampling.speed_up
    assert (always.layer, always.lens) == (2, "linear")
    every = [speed_up(COSTS, 1, 0.7, 10, m, translates=False) for m in range(1, MOST_DRAFTS + 1)]
    (found,) = drafting(COSTS, [Accepted(1, "norm", 0.7, 0.7)], 4, 10)
    assert found.greedy.speed_up == max(every) == every[found.greedy.drafts - 1]


def test_exits_of_a_deeper_expert_stand_at_the_same_share_of_the_depth() -> None:
    exits = [Accepted(layer, "norm", 0.5, 0.5) for layer in (1, 15, 29)]
    assert [one.layer for one in drafting(COSTS, exits, 30, 10)] == [1, 2, 3]
