"""What each arm of a study costs, as flat numbers with their units in the names (`costs.json`)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from cdeval.cost.flops import lane_flops, token_flops
from cdeval.cost.latency import Latency, measure
from cdeval.cost.memory import peak_bytes, slot_bytes, weights_bytes
from cdeval.decode.sources import Second
from cdeval.models.loading import LanguageModel
from cdeval.points import expert_alone
from cdeval.records import Amateur, Generation, Setting


class Arm(NamedTuple):
    """A setting and the texts it made."""

    setting: Setting
    texts: Sequence[Generation]


def price_arms(
    expert: LanguageModel,
    arms: Mapping[str, Arm],
    latency_repeats: int,
    compact_every: int,
    seconds: Mapping[Amateur, Second] = MappingProxyType({}),
) -> dict[str, dict[str, float]]:
    """FLOPs of the texts, latency of single lanes, bytes, by arm.

    `flops_overhead` and `latency_overhead` are ratios over the expert alone under the same search (0.05 is 5 % more);
    the latter needs such an arm among them. `exit_layer` is a mean of blocks. What was not measured is NaN.
    """
    prompts = [text.prompt_token_ids for arm in list(arms.values())[:1] for text in arm.texts]
    settings = {label: arm.setting for label, arm in arms.items()}
    latency = measure(expert, settings, prompts, latency_repeats, compact_every, seconds)
    alone = {arm.setting: latency[label].per_token for label, arm in arms.items() if arm.setting.is_plain}
    return {
        label: {
            **_flops(expert, arm, second := _model(seconds, arm)),
            **_exits(expert, arm),
            **_seconds(latency[label], alone.get(expert_alone(arm.setting), float("nan"))),
            **_bytes(expert, second, latency[label]),
            "peak_memory_bytes": peak_bytes(expert.device),
        }
        for label, arm in arms.items()
    }


def _model(seconds: Mapping[Amateur, Second], arm: Arm) -> LanguageModel | None:
    """The amateur with a forward pass of its own, if the arm has one; n-grams have no matrices."""
    found = seconds.get(arm.setting.amateur)
    return found if isinstance(found, LanguageModel) else None


def _bytes(expert: LanguageModel, second: LanguageModel | None, latency: Latency) -> dict[str, float]:
    """Weights that are shared count once: a truncated expert has none of its own."""
    models = [expert] if second is None or second.model is expert.model else [expert, second]
    live = latency.peak_slots * slot_bytes(expert)
    if second is not None:
        live += latency.amateur_slots * slot_bytes(second)
    return {
        "parameters": sum(model.model.num_parameters() for model in models),
        "weights_bytes": sum(weights_bytes(model) for model in models),
        "kv_live_bytes": live or float("nan"),
    }


def _flops(expert: LanguageModel, arm: Arm, second: LanguageModel | None) -> dict[str, float]:
    constants = token_flops(expert)
    amateurs = None if second is None else token_flops(second)
    # A text that ended by itself took a step more than it has tokens, an empty one exactly one.
    limit = arm.setting.max_new_tokens
    steps = [min(limit, len(text.token_ids) + 1) for text in arm.texts]
    lanes = [
        lane_flops(constants, arm.setting, len(text.prompt_token_ids), taken, amateurs, text.exit_layers)
        for text, taken in zip(arm.texts, steps, strict=True)
    ]
    prefill, decode = sum(lane.expert_prefill for lane in lanes), sum(lane.expert_decode for lane in lanes)
    amateur, saved = sum(lane.amateur for lane in lanes), sum(lane.saved for lane in lanes)
    return {
        "expert_prefill_flops": prefill,
        "expert_decode_flops": decode,
        "amateur_flops": amateur,
        "total_flops": prefill + decode + amateur,
        "flops_per_token": (prefill + decode + amateur) / sum(steps),
        "flops_overhead": (amateur - saved) / (prefill + decode + saved),
    }


def _exits(expert: LanguageModel, arm: Arm) -> dict[str, float]:
    """How far the rows went that were read after the prompt, where the expert may exit early."""
    if arm.setting.adaptive_exit is None:
        return {}
    layers = [layer for text in arm.texts for layer in text.exit_layers]
    early = sum(layer < expert.parts.depth for layer in layers)
    rows = len(layers) or float("nan")
    return {"exit_layer": sum(layers) / rows, "exit_share": early / rows}


def _seconds(latency: Latency, expert_alone_per_token: float) -> dict[str, float]:
    return {
        "prefill_seconds": latency.prefill,
        "decode_seconds_per_token": latency.per_token,
        "latency_overhead": latency.per_token / expert_alone_per_token - 1,
    }
