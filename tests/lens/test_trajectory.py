"""What the picture of a prompt shows is what each layer says, computed plainly."""

from collections.abc import Callable

import pytest
import torch

from cdeval.config.exits import Lens
from cdeval.errors import PromptError
from cdeval.lens.reading import View
from cdeval.lens.trajectory import trajectory
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import blocks_and_logits, exit_logits

PROMPT = "The quick brown fox"


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_cells_are_the_naive_ones(tiny: Callable[[str], LanguageModel], architecture: str) -> None:
    expert = tiny(architecture)
    found = trajectory(expert, PROMPT, [View(1, Lens.norm), View(3, Lens.norm)])
    ids = expert.tokenizer(PROMPT)["input_ids"]
    assert (found.layers, found.lens, len(found.tokens)) == ((1, 3, 4), "norm", len(ids))
    for place in range(len(ids)):
        blocks, logits = blocks_and_logits(expert, tuple(ids[: place + 1]))
        expected = logits.log_softmax(-1)
        rows = [exit_logits(expert, blocks[layer - 1], Lens.norm).log_softmax(-1) for layer in (1, 3)]
        for row, log_exit in enumerate([*rows, expected]):
            assert found.probability[row][place] == pytest.approx(float(log_exit.max().exp()), abs=1e-5)
            assert found.entropy[row][place] == pytest.approx(-float((log_exit.exp() * log_exit).sum()), abs=1e-4)
            assert found.kl[row][place] == pytest.approx(
                float((expected.exp() * (expected - log_exit)).sum()), abs=1e-4
            )
            assert found.top[row][place] == expert.tokenizer.decode([int(log_exit.argmax())])
    best = expected.topk(len(found.candidates))
    assert found.candidates == tuple(expert.tokenizer.decode([int(token)]) for token in best.indices)
    assert found.followed[0] == pytest.approx(rows[0][best.indices].exp().tolist(), abs=1e-5)
    torch.testing.assert_close(torch.tensor(found.followed[-1]), best.values.exp(), atol=1e-5, rtol=0)


def test_nothing_cannot_be_looked_at(tiny: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(PromptError, match="yields no tokens"):
        trajectory(tiny("gpt2"), "", [View(1, Lens.norm)])
