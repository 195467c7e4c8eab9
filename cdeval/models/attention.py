"""Attention for lanes of beams: grouped queries share their key head as it lies, instead of a copy a query head.

Hugging Face's fused attention repeats keys and values for every query head as soon as there is a mask, which costs a
copy of the whole cache a block and step. Here the query heads of one key head become further rows of one small matrix:

    queries [lane, key_head * group, beam, width]  ->  [lane, key_head, group * beam, width]     (a view)
    mask    [lane, 1, beam, slot]                  ->  repeated `group` times along its rows

The engine's cache repeats the mask once a step for all blocks; one that comes from Hugging Face is repeated here.

Without a mask (the prefill) or without groups it is Hugging Face's own.

Models that cdeval loads are loaded with this attention. One that a user loaded has another (sdpa, eager, flash, …), of
which some take no such mask: `lanes_attend` sets this attention while a batch is decoded and puts the user's back.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

LANE_ATTENTION = "cdeval_lanes"


def lane_attention(
    module: nn.Module,
    query: Float[Tensor, "lane head beam width"],
    key: Float[Tensor, "lane key_head slot width"],
    value: Float[Tensor, "lane key_head slot value_width"],
    attention_mask: Float[Tensor, "lane 1 row slot"] | None,
    scaling: float | None = None,
    **options: object,
) -> tuple[Float[Tensor, "lane beam head value_width"], None]:
    """Compute a block's attention; `options` holds what Hugging Face passes for training and padding."""
    lanes, heads, beams, width = query.shape
    key_heads = key.shape[1]
    if attention_mask is None or key_heads == heads:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return found
    group, rows = heads // key_heads, attention_mask.shape[2]
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(lanes, key_heads, group * beams, width),
        key,
        value,
        attn_mask=attention_mask if rows == group * beams else attention_mask.repeat(1, 1, group, 1),
        scale=scaling,
    )
    return output.reshape(lanes, heads, beams, value.shape[-1]).transpose(1, 2).contiguous(), None


def attention_for(config: PretrainedConfig) -> str:
    """The attention a model is loaded with: ours, but for Gemma 2, whose capped scores no fused attention computes."""
    return "eager" if getattr(config, "attn_logit_softcapping", None) else LANE_ATTENTION


@contextmanager
def lanes_attend(models: Iterable[PreTrainedModel]) -> Iterator[None]:
    """Let models attend as `attention_for` says inside the `with` block, whatever attention they were loaded with."""
    with attend_as(None, models), _without_plans():
        yield


@contextmanager
def _without_plans() -> Iterator[None]:
    """Keep torch's attention off cuDNN, which builds a plan for every number of slots, and each step has another one.

    On large cards torch asks cuDNN first (2.13: Hopper and Blackwell in half precision), and a plan takes the host tens
    of milliseconds: several steps' time. Its other fused kernels have none. The switch is the process's, and put back.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@contextmanager
def attend_as(attention: str | None, models: Iterable[PreTrainedModel]) -> Iterator[None]:
    """Let models attend in one way inside the `with` block; None: each as `attention_for` says.

    Every configuration that a module of theirs reads has its own attention back afterwards, also after an exception.
    The values are set directly: Hugging Face's setter asks whether a class supports an attention, and changes more.
    """
    before: list[tuple[PretrainedConfig, str | None]] = []
    try:
        for model in models:
            wanted = attention or attention_for(model.config)
            for config in _configs(model):
                if config._attn_implementation_internal != wanted:
                    before.append((config, config._attn_implementation_internal))
                    config._attn_implementation_internal = wanted
        yield
    finally:
        for config, earlier in reversed(before):
            config._attn_implementation_internal = earlier


def _configs(model: PreTrainedModel) -> list[PretrainedConfig]:
    """The configurations that the modules of a model read, each once; nearly always a single one."""
    found = (getattr(module, "config", None) for module in model.modules())
    return list({id(config): config for config in found if isinstance(config, PretrainedConfig)}.values())


def mask_rows(config: PretrainedConfig) -> int:
    """Count the mask's rows that each beam needs: one a query head of a group, one where attention repeats keys."""
    if attention_for(config) != LANE_ATTENTION:
        return 1
    heads: int = config.num_attention_heads
    return heads // (getattr(config, "num_key_value_heads", None) or heads)


AttentionInterface.register(LANE_ATTENTION, lane_attention)
AttentionMaskInterface.register(LANE_ATTENTION, sdpa_mask)
