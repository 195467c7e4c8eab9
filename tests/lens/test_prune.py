"""The search for blocks to leave out: what it reads, and that it finds the best."""

from collections.abc import Callable

import numpy as np
import pytest

from cdeval.config.exits import Lens
from cdeval.errors import PromptError
from cdeval.lens.config import PruneBy, PruneConfig, PruneSearch
from cdeval.lens.loops import passage_readings
from cdeval.lens.prune import measured, read_by, readings, search_blocks
from cdeval.lens.reading import Contrast, View
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import without_blocks

TEXTS = [[5, 17, 40, 8, 77, 12], [90], [90, 3, 3, 61, 20, 33, 34, 35]]
CONTRAST = Contrast(alpha=0.1, beta=0.5, temperature=2.0)


def test_the_last_blocks_left_out_are_an_early_exit(any_tiny: LanguageModel) -> None:
    """Whose margin and divergence `cdeval.lens.loops` reads off the expert's own pass."""
    rest = without_blocks(any_tiny, (3, 4))
    found = readings(any_tiny, rest, read_by(any_tiny, TEXTS, 9), CONTRAST)
    expected = passage_readings(any_tiny, TEXTS, [(View(2, Lens.norm), CONTRAST)])
    assert found[:, 0] == pytest.approx(expected.margins[:, 0], abs=1e-4)
    assert found[:, 1] == pytest.approx(expected.divergences[:, 0], abs=1e-4)


@pytest.mark.parametrize("by", list(PruneBy))
def test_the_best_choice_is_found(by: PruneBy, tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")

    def worth(*left_out: int) -> float:
        one = measured(lm, left_out, TEXTS, 9, CONTRAST)
        return one.margin.value if by is PruneBy.margin else -one.kl

    greedy = search_blocks(lm, TEXTS, PruneConfig(2, by, PruneSearch.greedy, 9), CONTRAST)
    first = max(range(1, 5), key=worth)
    assert greedy[0].left_out == (first,)
    second = max((block for block in range(1, 5) if block != first), key=lambda block: worth(first, block))
    assert [one.left_out for one in greedy] == [(first,), tuple(sorted((first, second)))]
    (span,) = search_blocks(lm, TEXTS, PruneConfig(2, by, PruneSearch.span, 9), CONTRAST)
    assert span.left_out == max([(1, 2), (2, 3), (3, 4)], key=lambda blocks: worth(*blocks))
    assert span.passages == 2
    assert np.isfinite(span.kl)


def test_texts_of_one_token_say_nothing(tiny: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(PromptError, match="no text has two tokens"):
        read_by(tiny("gpt2"), [[5], []], 9)
