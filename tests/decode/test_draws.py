"""Random numbers: the same for the same draw, unlike for others, and distributed as they should be."""

import numpy as np
import pytest
import torch
from scipy import stats

from cdeval.decode.draws import draw_keys, exponentials, stack_keys, token_bits

CPU = torch.device("cpu")


def test_a_draw_is_its_own_whatever_is_drawn_beside_it() -> None:
    """A stream that is consumed in order would give a longer text or a second sample other numbers."""
    assert draw_keys(1, "a", 0, 9)[:4] == draw_keys(1, "a", 0, 4)
    others = [draw_keys(2, "a", 0, 4), draw_keys(1, "b", 0, 4), draw_keys(1, "a", 1, 4), draw_keys(1, "a\0", 0, 4)]
    assert all(other[step] != draw_keys(1, "a", 0, 4)[step] for other in others for step in range(4))
    assert draw_keys(1, "half \ud83d a pair", 0, 1), "ids may hold what has no UTF-8"


def by_hand(bits: int, middle: int) -> int:
    """The mixer on whole numbers, which never overflow."""
    bits ^= bits >> 15
    bits = bits * 0x2C1B3C6D % 2**32
    bits ^= (bits >> 12) ^ middle
    bits = bits * 0x297A2D39 % 2**32
    return bits ^ (bits >> 15)


def test_no_product_overflows() -> None:
    keys = [[0xFFFFFFFF, 0], [0, 0xFFFFFFFF], [0x89ABCDEF, 0xFEDCBA98]]
    found = exponentials(token_bits(50, CPU)[None, None], torch.tensor(keys))
    for lane, (high, low) in enumerate(keys):
        for token in range(50):
            mixed = by_hand(by_hand(token, 0) ^ high, low)
            expected = -np.log1p(-(mixed + 0.5) / 2**32)
            assert abs(float(found[lane, 0, token]) / expected - 1) < 1e-5


@pytest.mark.parametrize("mixed", [0, 2**32 - 1])
def test_every_number_is_finite_and_above_zero(mixed: int) -> None:
    """Zero would win every race, infinity lose even a race of one: the ends of the range, found backwards."""
    product = mixed ^ (mixed >> 15) ^ (mixed >> 30)
    low = product * pow(0x297A2D39, -1, 2**32) % 2**32
    assert by_hand(0, low) == mixed
    found = float(exponentials(torch.zeros(1, 1, 1, dtype=torch.long), torch.tensor([[0, low]])))
    assert 0 < found < np.inf


def test_tokens_and_draws_are_independent_exponentials() -> None:
    lanes, vocab = 400, 1000
    keys = stack_keys([draw_keys(0, f"prompt {i}", 0, 2) for i in range(lanes)], CPU)
    bits = token_bits(vocab, CPU)[None, None]
    first, second = (exponentials(bits, keys[:, step])[:, 0].numpy() for step in (0, 1))
    assert stats.kstest(first.ravel(), "expon").pvalue > 0.001
    assert stats.kstest(first[:, 7], "expon").pvalue > 0.001, "one token, over draws"
    assert stats.kstest(first[7], "expon").pvalue > 0.001, "one draw, over tokens"
    pairs = {
        "neighbouring tokens": (first[:, :-1], first[:, 1:]),
        "neighbouring prompts": (first[:-1], first[1:]),
        "neighbouring steps": (first, second),
    }
    for name, (one, other) in pairs.items():
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(one.size), name


def test_rounding_moves_no_draw() -> None:
    """A batch of another size moves log-probabilities by some 1e-5. Inverting the cumulative distribution, to which all
    tokens add up, would not do: it is tried here beside, on the same noise."""
    torch.manual_seed(0)
    vocab, draws = 50_000, 400
    one = (2 * torch.randn(vocab)).log_softmax(-1)
    other = one + 1e-4 * torch.randn(vocab)
    keys = torch.tensor(draw_keys(0, "p", 0, draws))
    noise = exponentials(token_bits(vocab, CPU)[None, None], keys)[:, 0].log()
    moved = ((one - noise).argmax(-1) != (other - noise).argmax(-1)).sum()
    uniform = keys[:, 0].double() / 2**32
    below, beside = (torch.searchsorted(each.double().softmax(-1).cumsum(0), uniform) for each in (one, other))
    assert int(moved) <= 1
    assert int((below != beside).sum()) > 10
