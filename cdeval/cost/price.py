"""What each arm of a study costs, as flat numbers with their units in the names (`costs.json`)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cdeval.config import AmateurKind
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.cost.latency import Latency, measure
from cdeval.cost.memory import peak_bytes, slot_bytes, weights_bytes
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation, Setting


class Arm(NamedTuple):
    """A setting and the texts it made."""

    setting: Setting
    texts: Sequence[Generation]


def price_arms(
    expert: LanguageModel, arms: Mapping[str, Arm], latency_repeats: int, compact_every: int
) -> dict[str, dict[str, float]]:
    """FLOPs of the texts, latency of single lanes, bytes, by arm.

    `flops_overhead` and `latency_overhead` are ratios over the expert alone under the same search (0.05 is 5 % more);
    the latter needs such an arm among them. What was not measured is NaN.
    """
    prompts = [text.prompt_token_ids for arm in list(arms.values())[:1] for text in arm.texts]
    latency = measure(
        expert, {label: arm.setting for label, arm in arms.items()}, prompts, latency_repeats, compact_every
    )
    alone = (latency[label].per_token for label, arm in arms.items() if arm.setting.amateur is AmateurKind.none)
    expert_seconds = next(alone, float("nan"))
    return {
        label: {
            **_flops(expert, arm),
            **_seconds(latency[label], expert_seconds),
            "parameters": expert.model.num_parameters(),
            "weights_bytes": weights_bytes(expert),
            "kv_live_bytes": latency[label].peak_slots * slot_bytes(expert) or float("nan"),
            "peak_memory_bytes": peak_bytes(expert.device),
        }
        for label, arm in arms.items()
    }


def _flops(expert: LanguageModel, arm: Arm) -> dict[str, float]:
    constants = token_flops(expert)
    # A text that ended by itself took a step more than it has tokens, an empty one exactly one.
    limit = arm.setting.max_new_tokens
    steps = [min(limit, len(text.token_ids) + 1) for text in arm.texts]
    lanes = [
        lane_flops(constants, arm.setting, len(text.prompt_token_ids), taken)
        for text, taken in zip(arm.texts, steps, strict=True)
    ]
    prefill, decode = sum(lane.expert_prefill for lane in lanes), sum(lane.expert_decode for lane in lanes)
    amateur = sum(lane.amateur for lane in lanes)
    return {
        "expert_prefill_flops": prefill,
        "expert_decode_flops": decode,
        "amateur_flops": amateur,
        "total_flops": prefill + decode + amateur,
        "flops_per_token": (prefill + decode + amateur) / sum(steps),
        "flops_overhead": amateur / (prefill + decode),
    }


def _seconds(latency: Latency, expert_alone_per_token: float) -> dict[str, float]:
    return {
        "prefill_seconds": latency.prefill,
        "decode_seconds_per_token": latency.per_token,
        "latency_overhead": latency.per_token / expert_alone_per_token - 1,
    }
