"""The place of blocks and final norm in each architecture: the only file that knows architectures by name.

Exit layer k means *after k blocks*, 1 <= k < L, so it is the output of `blocks[k - 1]` *before* the final norm. Hugging
Face's `hidden_states` has L + 1 entries and its last one is already normed: it is never used here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from cdeval.errors import ModelError


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Attribute paths: `base` from the causal language model down, the others from `base` down."""

    base: str = "model"  # the module whose last_hidden_state feeds the head
    blocks: str = "layers"
    norm: str = "norm"
    project_out: str | None = None  # between final norm and head; the head itself every model can name
    attention_out: str = "self_attn.o_proj"  # from a block down: the product of the heads' outputs, side by side


_LLAMA_LIKE = Anatomy()

# Keyed by `config.model_type`. To add an architecture, add its row and its tiny model in tests/conftest.py.
ANATOMIES: dict[str, Anatomy] = {
    "gemma": _LLAMA_LIKE,
    "gemma2": _LLAMA_LIKE,
    "gemma3_text": _LLAMA_LIKE,
    "gpt2": Anatomy(base="transformer", blocks="h", norm="ln_f", attention_out="attn.c_proj"),
    "gpt_neox": Anatomy(base="gpt_neox", norm="final_layer_norm", attention_out="attention.dense"),
    "llama": _LLAMA_LIKE,
    "mistral": _LLAMA_LIKE,
    "opt": Anatomy(
        base="model.decoder",
        norm="final_layer_norm",
        project_out="project_out",
        attention_out="self_attn.out_proj",
    ),
    "phi": Anatomy(norm="final_layernorm", attention_out="self_attn.dense"),
    "phi3": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
}


@dataclass(frozen=True, slots=True)
class Parts:
    """The modules of one loaded model that decoding needs."""

    base: nn.Module
    blocks: nn.ModuleList
    norm: nn.Module | None  # None: post-norm OPT (opt-350m), whose blocks norm their own output
    project_out: nn.Module | None
    head: nn.Module
    softcap: float | None  # Gemma 2: logits = cap * tanh(logits / cap)
    skips: tuple[int, ...] = ()  # places in the base's list, from 0, whose blocks are left out and not among `blocks`

    @property
    def depth(self) -> int:
        """L, the number of blocks."""
        return len(self.blocks)

    @property
    def head_weight(self) -> Float[Tensor, "vocab head_width"]:
        """The head's matrix."""
        weight = self.head.weight
        assert isinstance(weight, Tensor)  # noqa: S101 - a type narrowing, not a check of the input
        return weight

    def finish(self, block_output: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows head_width"]:
        """A block's raw output as the head expects it: final norm, exactly once, then OPT's projection."""
        return self.projected(self.normed(block_output))

    def normed(self, block_output: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Apply the final norm; an architecture without one leaves the output as it was."""
        normed: Tensor = block_output if self.norm is None else self.norm(block_output)
        return normed

    def projected(self, hidden: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows head_width"]:
        """Make it as wide as the head's rows, which is what OPT's projection is for."""
        projected: Tensor = hidden if self.project_out is None else self.project_out(hidden)
        return projected

    def logits(self, finished: Float[Tensor, "*rows head_width"]) -> Float[Tensor, "*rows vocab"]:
        """The head, with the soft cap where the architecture has one."""
        return self._capped(self.head(finished))

    def logits_of(
        self, finished: Float[Tensor, "*rows head_width"], tokens: Int[Tensor, "*rows token"]
    ) -> Float[Tensor, "*rows token"]:
        """The head's rows of some tokens only, others in each row of `finished`."""
        logits = (self.head_weight[tokens] @ finished.unsqueeze(-1)).squeeze(-1)
        bias = getattr(self.head, "bias", None)
        return self._capped(logits if bias is None else logits + bias[tokens])

    def _capped(self, logits: Tensor) -> Tensor:
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


def anatomy_of(config: PretrainedConfig, name: str) -> Anatomy:
    """The architecture's row of the table.

    Raises: ModelError: the architecture is not in it (says which are and how to add one), or as `check_causal`.
    """
    anatomy = ANATOMIES.get(config.model_type)
    if anatomy is None and not getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name} has the architecture '{config.model_type}', which cdeval does not know. "
            f"Known: {', '.join(sorted(ANATOMIES))}. To add it, say where its blocks and final norm are "
            "in ANATOMIES (cdeval/models/anatomy.py); it must take 4-D attention masks and position_ids."
        )
    check_causal(config, name)
    if getattr(config, "is_heterogeneous", False):
        raise ModelError(f"{name} has blocks of different configurations (per_layer_config), which cdeval cannot read.")
    return ANATOMIES[config.model_type]


def check_causal(config: PretrainedConfig, name: str) -> None:
    """Check that a model reads from left to right, by one network. Raises: ModelError: it does not."""
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name} is an encoder-decoder model ('{config.model_type}'), which reads a prompt by another network than "
            f"the one that continues it: give a decoder-only model. Known: {', '.join(sorted(ANATOMIES))}."
        )
    if not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", False):
        raise ModelError(
            f"{name} attends in both directions (is_causal=false or use_bidirectional_attention=true in its "
            "configuration), as embedding models do: a text that is being written has no right side. Give a causal "
            "language model."
        )


def dissect(model: PreTrainedModel, name: str) -> Parts:
    """The parts of a loaded model.

    Raises: ModelError: unknown architecture, or a model of it without a language modelling head.
    """
    anatomy = anatomy_of(model.config, name)
    head = model.get_output_embeddings()
    if head is None or not hasattr(head, "weight"):
        raise ModelError(
            f"{name} is a {type(model).__name__}, which has no language modelling head (a base model, or one for "
            "classification): load it by AutoModelForCausalLM.from_pretrained."
        )
    base = attrgetter(anatomy.base)(model)
    return Parts(
        base=base,
        blocks=attrgetter(anatomy.blocks)(base),
        norm=attrgetter(anatomy.norm)(base),
        project_out=attrgetter(anatomy.project_out)(base) if anatomy.project_out else None,
        head=head,
        softcap=getattr(model.config, "final_logit_softcapping", None),
    )


def check_lengths(config: PretrainedConfig, prompt_tokens: Iterable[int], new_tokens: int, name: str) -> None:
    """Check prompts of several lengths [tokens], as `check_length` does one."""
    for length in sorted(set(prompt_tokens), reverse=True):
        check_length(config, length, new_tokens, name)


def check_length(config: PretrainedConfig, prompt_tokens: int, new_tokens: int, name: str) -> None:
    """A text must fit the positions a model has, any sliding attention window, and one kind of rotary positions.

    Raises: ModelError: it does not; names the limit and the settings to lower.
    """
    total = prompt_tokens + new_tokens
    lower = f"lower search.max_new_tokens (now {new_tokens}) or the prompt's length (now {prompt_tokens})"
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and total > positions:
        raise ModelError(
            f"{prompt_tokens} prompt tokens + {new_tokens} new tokens = {total} exceed the context of {name}, "
            f"{positions} tokens: {lower}."
        )
    limit = _switches_after(config)
    if limit is not None and prompt_tokens <= limit < total - 1:  # the last new token is not read
        raise ModelError(
            f"{name} turns positions by other factors once a text is longer than {limit} tokens (rope scaling of type "
            f"longrope), so that all that was read before is to be read again; the text grows from {prompt_tokens} to "
            f"{total} tokens: {lower}, or give prompts of more than {limit} tokens."
        )
    window = _sliding_window(config)
    if window is not None and total > window:
        raise ModelError(
            f"{name} attends through a sliding window of {window} tokens, shorter than the text of {total}; "
            f"the beam engine keeps whole texts: {lower}."
        )


def _rope_parameters(config: PretrainedConfig) -> list[Mapping[str, object]]:
    """Read how positions are rotated: once, or for each type of layer (Gemma 3)."""
    found = getattr(config, "rope_parameters", None)
    if not isinstance(found, Mapping):
        return []
    nested = [value for value in found.values() if isinstance(value, Mapping)]
    return nested or [found]


def asks_for_positions(config: PretrainedConfig) -> bool:
    """Whether a forward pass asks its device how long the text is, as it does for rope scaling of type dynamic."""
    return any(rope.get("rope_type") == "dynamic" for rope in _rope_parameters(config))


def _switches_after(config: PretrainedConfig) -> int | None:
    """The length of text at which longrope takes other factors, for positions that were read before as well.

    Other scalings (linear, yarn, llama3, proportional) rotate a position alike in texts of any length; dynamic does up
    to `max_position_embeddings`, which no text may exceed here.
    """
    limits = (
        rope.get("original_max_position_embeddings")
        for rope in _rope_parameters(config)
        if rope.get("rope_type") == "longrope"
    )
    return next((limit for limit in limits if isinstance(limit, int)), None)


def _sliding_window(config: PretrainedConfig) -> int | None:
    """The window in use; Qwen carries a window it does not use unless told, and then in some blocks only."""
    if not getattr(config, "use_sliding_window", True):
        return None
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and not any(kind != "full_attention" for kind in kinds):
        return None
    window: int | None = getattr(config, "sliding_window", None)
    return window
