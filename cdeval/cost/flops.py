"""FLOPs of a lane, by formula: 2 per multiply-add of every matrix product, nothing else (norms, softmax: under 1 %).

    token at context T:   2 * (weights of all blocks' matrices)  +  L * 4 * heads * head_width * T
    head, a row:          2 * (weights of the head, and of OPT's projection before it)
    candidate-only head:  the head's rows of `CANDIDATES` tokens instead of the vocabulary's (a step with more plausible
                          tokens reads more: at α = .01 of SmolLM2's nucleus texts 120 to 165 on average)
    early exit:           a row of the head, or one a candidate layer where their logits are compared; 2 * width^2 more
                          for each layer read through a tuned or linear lens
    adaptive exit after e of L blocks, at context T, against a token through all of them:
                          - 2 * (weights of blocks e + 1 ... L)  -  (L - e) * 4 * heads * head_width * T
                          + (L - e) * 4 * width * key_heads * head_width    (their keys and values, of the exit's state)
                          + a row of the head for each layer asked before e (softmax; the last row is the token's own)
                          + 6 * width for each layer asked                  (saturation: a cosine)
                          + 2 * width^2 for each layer asked (softmax) or exited from, through a linear lens

The context is the algorithm's: a beam attends to its own ancestors, T = prompt + tokens so far, and a prompt to its
past, T = 1 ... P (`torch.utils.flop_counter` charges P for every prompt token; the masked slots of other beams that the
engine's attention also touches are not counted either, as they are a cost of the implementation and show in latency).
A prompt is prefilled once a lane, not once a beam, and its head is applied to the last position only. Contrastive
search reads k candidates for every token, the last one too, and applies the head once a token; its similarities are not
counted (under 0.1 %).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from cdeval.config.amateur import kind_of
from cdeval.config.enums import Context, SearchKind
from cdeval.config.exits import ConfidenceMeasure
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.models.loading import LanguageModel


@dataclass(frozen=True, slots=True)
class LaneFlops:
    """FLOPs of one continuation: all beams of one prompt under one setting."""

    expert_prefill: int  # the prompt and the choice of the first token
    expert_decode: int  # the other tokens, all beams, as far as they went
    amateur: float  # what the contrast adds; NaN where a plug-in does not say
    new_tokens: int
    saved: int = 0  # by the expert's own early exits, less what asking for them took: below 0 where that was more

    @property
    def total(self) -> float:
        """Expert and amateur."""
        return self.expert_prefill + self.expert_decode + self.amateur

    @property
    def per_token(self) -> float:
        """Total over the tokens of the continuation (one text, whatever the beams)."""
        return self.total / self.new_tokens

    @property
    def overhead(self) -> float:
        """Amateur and early exits over the expert alone under the same search, as a ratio: 0.05 is 5 % more."""
        return (self.amateur - self.saved) / (self.expert_prefill + self.expert_decode + self.saved)


@dataclass(frozen=True, slots=True)
class TokenFlops:
    """The formula's constants for one model."""

    blocks: int  # matrices of all blocks, and of OPT's input projection, one token
    attention: int  # a token and slot of context, all blocks
    head: int  # a row
    head_token: int  # a row and token, without OPT's projection
    projection: int = 0  # OPT's, a row
    translator: int = 0  # of a tuned lens, a row
    by_block: tuple[int, ...] = ()  # matrices of each block, one token
    key_value: int = 0  # keys and values of one block, one token
    cosine: int = 0  # of two states, a row

    def token(self, context: int) -> int:
        """One token through all blocks, attending to `context` slots, itself included."""
        return self.blocks + self.attention * context

    def candidate_head(self, tokens: int) -> int:
        """A row of the head, for some tokens only."""
        return min(self.head, self.projection + tokens * self.head_token)

    def skipped(self, exit_layer: int, context: int) -> int:
        """Count a token's savings by an exit after `exit_layer` blocks: the other blocks, but for keys and values."""
        blocks = self.by_block[exit_layer:]
        attention = self.attention * context * len(blocks) // max(len(self.by_block), 1)
        return sum(blocks) + attention - len(blocks) * self.key_value

    def prompt(self, tokens: int) -> int:
        """A whole prompt through all blocks, causally."""
        return tokens * self.blocks + self.attention * (tokens * (tokens + 1) // 2)


def token_flops(lm: LanguageModel) -> TokenFlops:
    """Read the constants off a loaded model, so that grouped heads, gates and odd widths need no special case."""
    config, parts = lm.model.config, lm.parts
    projection = 2 * matrix_weights(parts.project_out)
    return TokenFlops(
        blocks=2 * (matrix_weights(parts.blocks) + matrix_weights(getattr(parts.base, "project_in", None))),
        attention=4 * parts.depth * config.num_attention_heads * head_width(config),
        head=2 * matrix_weights(parts.head) + projection,
        head_token=2 * parts.head_weight.shape[1],
        projection=projection,
        translator=2 * config.hidden_size**2,
        by_block=tuple(2 * matrix_weights(block) for block in parts.blocks),
        key_value=4 * config.hidden_size * key_heads(config) * head_width(config),
        cosine=6 * config.hidden_size,
    )


def lane_flops(  # noqa: PLR0913 - most with a default
    costs: TokenFlops,
    setting: Setting,
    prompt_tokens: int,
    new_tokens: int,
    amateur_costs: TokenFlops | None = None,
    exit_layers: Sequence[int] = (),
    *,
    own_prompt: int | None = None,
) -> LaneFlops:
    """FLOPs of one lane that generates exactly `new_tokens` (texts that end early cost less: pass their steps).

    The first token comes from the prefill; step s feeds the beams' s-th tokens at context prompt + s. `amateur_costs`
    are those of an amateur with a forward pass of its own, which reads `own_prompt` tokens of the prompt (None: as many
    as there are, or the last one by context=generated); `exit_layers` are those of the text (`records.Generation`).

    Raises: ValueError: the expert may exit early, and these are not the rows of so many tokens.
    """
    if amateur_costs is not None:
        amateur: float = _read(
            amateur_costs, read_by_amateur(setting, prompt_tokens, own_prompt), setting.beams, new_tokens
        )
    else:
        each = kind_of(setting.amateur).flops(setting.amateur, setting.normalizer, costs)
        amateur = each * (1 + setting.beams * (new_tokens - 1))
    prefill = _read(costs, prompt_tokens, setting.beams, 1)
    whole = (
        _read_candidates(costs, prompt_tokens, setting.beams, new_tokens)
        if setting.search is SearchKind.contrastive_search
        else _read(costs, prompt_tokens, setting.beams, new_tokens)
    )
    saved = 0
    if setting.adaptive_exit is not None:
        rows = setting.beams * (new_tokens - 1)
        if len(exit_layers) != rows:
            raise ValueError(f"{len(exit_layers)} exit layers of {rows} rows")
        saved = sum(
            costs.skipped(layer, prompt_tokens + 1 + row // setting.beams)
            - _asking(costs, setting.adaptive_exit, layer)
            for row, layer in enumerate(exit_layers)
        )
    return LaneFlops(
        expert_prefill=prefill,
        expert_decode=whole - prefill - saved,
        amateur=amateur,
        new_tokens=new_tokens,
        saved=saved,
    )


def read_by_amateur(setting: Setting, prompt_tokens: int, own_prompt: int | None) -> int:
    """Count the tokens that an amateur with a forward pass of its own reads of a prompt, as `lane_flops` says.

    Raises: ValueError: they depend on the prompt's text, and are not given.
    """
    if own_prompt is not None:
        return own_prompt
    context = setting.amateur.context
    if context not in (Context.full, Context.generated):
        raise ValueError(f"how much an amateur with context={context.value} reads of a prompt must be given")
    return prompt_tokens if context is Context.full else 1


def _asking(costs: TokenFlops, own: AdaptiveExit, exit_layer: int) -> int:
    """Count the confidence tests after each layer up to the exit; the head's row at the exit chooses the next token."""
    before = sum(layer < exit_layer for layer in own.layers)
    here = exit_layer in own.layers
    lens = costs.translator if own.linear else 0
    if own.measure is ConfidenceMeasure.softmax:
        return (costs.head + lens) * before + lens * here
    return costs.cosine * (before + here) + lens * here


def _read(costs: TokenFlops, prompt_tokens: int, beams: int, new_tokens: int) -> int:
    """A model reads a prompt and all beams' tokens but the last, and its head is applied after each."""
    decode = sum(beams * (costs.token(prompt_tokens + step) + costs.head) for step in range(1, new_tokens))
    return costs.prompt(prompt_tokens) + costs.head + decode


def _read_candidates(costs: TokenFlops, prompt_tokens: int, candidates: int, new_tokens: int) -> int:
    """A model reads a prompt and all candidates of every token; its head is applied to what was chosen before each."""
    read = sum(candidates * costs.token(prompt_tokens + step) for step in range(1, new_tokens + 1))
    return costs.prompt(prompt_tokens) + read + new_tokens * costs.head


def head_width(config: PretrainedConfig) -> int:
    """Width of one attention head."""
    width: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return width


def key_heads(config: PretrainedConfig) -> int:
    """Heads of keys and values; as many as of queries unless they are grouped."""
    heads: int = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return heads


def matrix_weights(module: nn.Module | None) -> int:
    """Weights that enter matrix products (embedding look-ups do not)."""
    if module is None:
        return 0
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear | Conv1D))
