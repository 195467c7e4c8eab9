"""CALM's early exits by their definition: no cache, every token of a text read again for the next one."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch

from cdeval.config.exits import ConfidenceMeasure
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.models.lens import Translator
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import blocks_and_logits, exit_logits


class Exiting:
    """A full forward pass over a text in which every generated token stops where it stopped when it was read.

    `depths` remembers for each text that was read after its prompt through how many blocks its last token went.
    """

    def __init__(
        self,
        prompt: tuple[int, ...],
        how: Setting,
        *,
        propagate: bool = True,
        translators: Mapping[int, Translator] = MappingProxyType({}),
    ) -> None:
        """Args: translators: those of a linear lens that the exits are read through.

        `propagate=False` is the bug that must show: skipped blocks then see what they would have made themselves.
        """
        assert how.adaptive_exit is not None
        self._prompt, self._own, self._steps = len(prompt), how.adaptive_exit, how.max_new_tokens
        self._propagate, self._translators = propagate, translators
        self.depths: dict[tuple[int, ...], int] = {}

    @torch.inference_mode()
    def __call__(self, lm: LanguageModel, ids: tuple[int, ...]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The output of every block and the logits, at the last position."""
        if len(ids) == self._prompt:
            return blocks_and_logits(lm, ids)
        earlier = [self.depths[ids[:end]] for end in range(self._prompt + 1, len(ids))]
        entered: list[torch.Tensor] = []
        kept: list[torch.Tensor] = []
        own = lm.parts.depth

        def before(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
            entered.append(inputs[0].clone())

        def after(_module: object, _inputs: object, output: object) -> object:
            nonlocal own
            block = len(entered)
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            for place, depth in enumerate(earlier):
                if block > depth and self._propagate:
                    hidden[0, self._prompt + place] = entered[-1][0, self._prompt + place]
            if block > own:
                hidden[0, -1] = entered[-1][0, -1]
            elif block in self._own.layers and self._sure(lm, hidden[0, -1], entered[-1][0, -1], block, len(ids)):
                own = block
            kept.append(hidden[0, -1])
            if block == lm.parts.depth and own in self._translators:
                hidden[0, -1] = self._seen(hidden[0, -1], own)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handles = [block.register_forward_pre_hook(before) for block in lm.parts.blocks]
        handles += [block.register_forward_hook(after) for block in lm.parts.blocks]
        try:
            logits = lm.model(torch.tensor([ids])).logits[0, -1].float()
        finally:
            for handle in handles:
                handle.remove()
        self.depths[ids] = own
        return kept, logits

    def _sure(self, lm: LanguageModel, now: torch.Tensor, before: torch.Tensor, block: int, length: int) -> bool:
        asked = self._seen(now, block) if self._own.measure is ConfidenceMeasure.softmax else now
        return confidence(lm, self._own, asked, before, block) >= level(self._own, length - self._prompt, self._steps)

    def _seen(self, hidden: torch.Tensor, block: int) -> torch.Tensor:
        one = self._translators.get(block)
        return hidden if one is None else hidden + one.matrix @ hidden + one.bias


def level(own: AdaptiveExit, step: int, steps: int) -> float:
    """How sure a token must be."""
    return min(1.0, max(0.0, 0.9 * own.threshold + 0.1 * math.exp(-own.decay * step / steps)))


def confidence(lm: LanguageModel, own: AdaptiveExit, now: torch.Tensor, before: torch.Tensor, block: int) -> float:
    """How sure a token is after a block, whose input was `before`."""
    if own.measure is ConfidenceMeasure.softmax:
        best, second = sorted(exit_logits(lm, now).softmax(-1).tolist())[-1:-3:-1]
        return best - second
    if block == 1:
        return 0.0
    now, before = now.double(), before.double()
    return float(now @ before / (now.norm() * before.norm()))
