"""Bytes that a lane must move between memory and processor, by formula: what bounds the decoding of few texts.

    step at context T, W beams:   weights of all blocks' matrices, and of the head, once for all beams
                                  + (T - 1 + W) key-value slots: a past that the beams share is read once
                                  + 2 * W rows of logits: written, and read by the softmax
    early exit                    2 * W rows of logits for each layer whose logits are compared; the head's weights
                                  have been read for the expert's rows, stacked with these. Through a tuned lens,
                                  width^2 float32 a layer
    candidate-only head           the head's rows of `CANDIDATES` tokens a beam instead
    amateur with its own pass     all of a step, of its own weights and slots; a truncated expert reads the head again
    adaptive exit                 without the weights of the blocks above the deepest exit of the step's beams, but
                                  for those of their keys and values; through a linear lens, width^2 float32 more
                                  for each layer asked

A prompt is read in one pass, so its weights are read once. Activations between the operators and the look-up of an
embedding are left out: they are rows of the model's width, and stay in a processor's caches. So this is the least that
can be moved; an engine that keeps every beam's past apart moves more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cdeval.config.amateur import kind_of
from cdeval.config.enums import SearchKind
from cdeval.config.setting import Setting
from cdeval.cost.flops import read_by_amateur, token_flops
from cdeval.cost.memory import slot_bytes
from cdeval.models.loading import LanguageModel

_TRANSLATOR_ITEM = 4  # bytes of a float32


@dataclass(frozen=True, slots=True)
class LaneBytes:
    """Bytes moved for one continuation."""

    prefill: int  # the expert's, up to the first token
    decode: int  # the expert's, the other tokens
    amateur: float  # what the contrast adds; NaN where a plug-in does not say
    new_tokens: int

    @property
    def per_token(self) -> float:
        """Bytes of expert and amateur, the prompt's included, over the tokens of the continuation."""
        return (self.prefill + self.decode + self.amateur) / self.new_tokens


@dataclass(frozen=True, slots=True)
class TokenBytes:
    """The formula's constants for one model, in its own number format."""

    blocks: int  # the matrices of all blocks
    head: int  # the head's matrix, and OPT's projection
    head_token: int  # the head's row of one token
    logits: int  # a row
    slot: int  # keys and values of one token, all blocks
    translator: int = 0  # of a tuned or linear lens
    by_block: tuple[int, ...] = ()  # the matrices of each block
    key_value: int = 0  # of one block, the matrices that make keys and values

    def step(self, context: int, beams: int, skipped: int = 0) -> int:
        """One decoding step, without the weights that an early exit leaves out."""
        return self.blocks - skipped + self.head + (context - 1 + beams) * self.slot + 2 * beams * self.logits

    def prompt(self, tokens: int) -> int:
        """A prompt, and the logits after it."""
        return self.blocks + self.head + tokens * self.slot + 2 * self.logits


def token_bytes(lm: LanguageModel) -> TokenBytes:
    """Read the constants off a loaded model."""
    flops, item = token_flops(lm), lm.dtype.itemsize
    return TokenBytes(
        blocks=_weights(flops.blocks, item),
        head=_weights(flops.head, item),
        head_token=_weights(flops.head_token, item),
        logits=lm.parts.head_weight.shape[0] * item,
        slot=slot_bytes(lm),
        translator=_weights(flops.translator, _TRANSLATOR_ITEM),
        by_block=tuple(_weights(block, item) for block in flops.by_block),
        key_value=_weights(flops.key_value, item),
    )


def lane_bytes(  # noqa: PLR0913 - most with a default
    costs: TokenBytes,
    setting: Setting,
    prompt_tokens: int,
    new_tokens: int,
    amateur_costs: TokenBytes | None = None,
    exit_layers: Sequence[int] = (),
    *,
    own_prompt: int | None = None,
) -> LaneBytes:
    """Bytes of one lane; arguments as of `cost.flops.lane_flops`."""
    beams, steps = setting.beams, range(1, new_tokens)
    prefill = costs.prompt(prompt_tokens)
    deepest = _deepest(exit_layers, beams) if setting.adaptive_exit is not None else [len(costs.by_block)] * len(steps)
    decode = sum(
        costs.step(prompt_tokens + step, beams, _skipped(costs, layer))
        for step, layer in zip(steps, deepest, strict=True)
    )
    own = setting.adaptive_exit
    if own is not None and own.linear:
        decode += sum(costs.translator * sum(exit_ <= layer for exit_ in own.layers) for layer in deepest)
    if setting.search is SearchKind.contrastive_search:  # reads the candidates of the last token, too
        decode += costs.step(prompt_tokens + new_tokens, beams)
    if amateur_costs is not None:
        read = read_by_amateur(setting, prompt_tokens, own_prompt)
        amateur: float = amateur_costs.prompt(read) + sum(amateur_costs.step(read + step, beams) for step in steps)
    else:
        first, later = (_amateur_traffic(costs, setting, rows) for rows in (1, beams))
        amateur = first + len(steps) * later
    return LaneBytes(prefill, decode, amateur, new_tokens)


def _amateur_traffic(costs: TokenBytes, setting: Setting, rows: int) -> float:
    return kind_of(setting.amateur).traffic(setting.amateur, setting.normalizer, costs, rows)


def _deepest(exit_layers: Sequence[int], beams: int) -> list[int]:
    """The deepest exit of each step's beams."""
    return [max(exit_layers[at : at + beams]) for at in range(0, len(exit_layers), beams)]


def _skipped(costs: TokenBytes, layer: int) -> int:
    above = costs.by_block[layer:]
    return sum(above) - len(above) * costs.key_value


def _weights(flops: int, item: int) -> int:
    """Bytes of the weights behind a count of FLOPs: each is multiplied and added once."""
    return flops // 2 * item
