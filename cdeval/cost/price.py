"""The costs of each arm of a study, as flat numbers with their units in the names (`costs.json`)."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from cdeval.config.amateur import Amateur
from cdeval.config.enums import SearchKind
from cdeval.config.setting import Setting, expert_alone
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.cost.latency import Latency
from cdeval.cost.memory import slot_bytes, weights_bytes, weights_of
from cdeval.cost.spread import NOTHING, over_passes, quantiles, ratio_over_turns
from cdeval.cost.traffic import lane_bytes, token_bytes
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.models.loading import LanguageModel

NAN = float("nan")
_FLOPS = ("expert_prefill_flops", "expert_decode_flops", "amateur_flops", "total_flops")


class PricedText(NamedTuple):
    """The facts that a text's costs depend on."""

    prompt_tokens: int
    tokens: int  # without an end-of-text token
    exit_layers: tuple[int, ...] = ()  # as in `records.Generation`
    without_context: int | None = None  # tokens of the prompt alone, where a context comes before it


class PricedArm(NamedTuple):
    """A setting and the texts it made."""

    setting: Setting
    texts: Sequence[PricedText]


class Timed(NamedTuple):
    """The measurements that were made apart from the texts; empty where nothing was timed."""

    latency: Mapping[str, Latency] = MappingProxyType({})  # by arm
    bandwidth: float = NAN  # of the device's memory, reading [bytes/s]


NOT_TIMED = Timed()


def price_arms(
    expert: LanguageModel,
    arms: Mapping[str, PricedArm],
    timed: Timed = NOT_TIMED,
    amateur_models: Mapping[Amateur, AmateurModel] = MappingProxyType({}),
    confidence: float = 0.95,
) -> dict[str, dict[str, float]]:
    """FLOPs and bytes moved of the texts, latency, memory and energy of single lanes, by arm.

    Overheads are ratios over the expert alone under the same search (0.05 is 5 % more); those of latency and memory
    need such an arm among them. `_low` and `_high` are ends of intervals over timed passes (`cost.spread`).
    `exit_layer` is a mean of blocks. What was not measured is NaN, as FLOPs and bytes of texts that transformers made.
    """
    latency = {label: timed.latency.get(label, Latency()) for label in arms}
    model_of = {label: _model(amateur_models, arm) for label, arm in arms.items()}
    memory = {label: _memory(expert, model_of[label], latency[label]) for label in arms}
    plain = {label: arm.setting for label, arm in arms.items() if arm.setting.is_plain}
    alone = {setting: label for label, setting in plain.items() if setting.search is not SearchKind.hf}
    found = {}
    for label, arm in arms.items():
        control = alone.get(expert_alone(arm.setting))
        found[label] = {
            **_flops(expert, arm, model_of[label]),
            **_traffic(expert, arm, model_of[label], timed.bandwidth),
            **_exits(expert, arm),
            **_seconds(latency[label], latency[control] if control else Latency(), confidence),
            **_energy(latency[label], confidence),
            **memory[label],
            "memory_overhead": memory[label]["memory_bytes"] / memory[control]["memory_bytes"] - 1 if control else NAN,
            "other_load": latency[label].other_load,
        }
    return found


def _model(amateur_models: Mapping[Amateur, AmateurModel], arm: PricedArm) -> LanguageModel | None:
    """The amateur with a forward pass of its own, if the arm has one; n-grams have no matrices."""
    found = amateur_models.get(arm.setting.amateur)
    return found if isinstance(found, LanguageModel) else None


def _memory(expert: LanguageModel, amateur_model: LanguageModel | None, latency: Latency) -> dict[str, float]:
    """Weights that are shared count once: a truncated expert has none of its own."""
    models = [expert] if amateur_model is None else [expert, amateur_model]
    live = latency.peak_slots * slot_bytes(expert)
    if amateur_model is not None:
        live += latency.amateur_slots * slot_bytes(amateur_model)
    weights = weights_bytes(*models)
    return {
        "parameters": sum(weight.numel() for weight in weights_of(*models)),
        "weights_bytes": weights,
        "kv_live_bytes": live or NAN,
        "working_bytes": latency.working_bytes,
        "memory_bytes": weights + latency.working_bytes,
    }


def _flops(expert: LanguageModel, arm: PricedArm, second: LanguageModel | None) -> dict[str, float]:
    if arm.setting.search is SearchKind.hf:  # what transformers computes is not counted
        return dict.fromkeys((*_FLOPS, "flops_per_token", "flops_overhead"), NAN)
    constants = token_flops(expert)
    amateurs = None if second is None else token_flops(second)
    prefill = decode = saved = 0
    amateur: float = 0
    own = OwnPrompt.from_amateur(arm.setting.amateur, expert.tokenizer)
    for (text, taken), times in _shapes(arm).items():
        read = _read_by_amateur(own, text)
        lane = lane_flops(
            constants, arm.setting, text.prompt_tokens, taken, amateurs, text.exit_layers, own_prompt=read
        )
        prefill += times * lane.expert_prefill
        decode += times * lane.expert_decode
        amateur += times * lane.amateur
        saved += times * lane.saved
    return {
        **dict(zip(_FLOPS, (prefill, decode, amateur, prefill + decode + amateur), strict=True)),
        "flops_per_token": (prefill + decode + amateur) / _steps(arm),
        "flops_overhead": (amateur - saved) / (prefill + decode + saved),
    }


def _traffic(expert: LanguageModel, arm: PricedArm, second: LanguageModel | None, bandwidth: float) -> dict[str, float]:
    """Bytes that must be moved, and how long that alone takes at the device's bandwidth."""
    if arm.setting.search is SearchKind.hf:
        return dict.fromkeys(("bytes_per_token", "bytes_overhead", "bandwidth_seconds_per_token"), NAN)
    constants = token_bytes(expert)
    amateurs = None if second is None else token_bytes(second)
    moved: float = 0
    whole: float = 0
    own = OwnPrompt.from_amateur(arm.setting.amateur, expert.tokenizer)
    for (text, taken), times in _shapes(arm).items():
        read = _read_by_amateur(own, text)
        lane = lane_bytes(
            constants, arm.setting, text.prompt_tokens, taken, amateurs, text.exit_layers, own_prompt=read
        )
        moved += times * (lane.prefill + lane.decode + lane.amateur)
        plain = lane_bytes(constants, expert_alone(arm.setting), text.prompt_tokens, taken)
        whole += times * (plain.prefill + plain.decode)
    per_token = moved / _steps(arm)
    return {
        "bytes_per_token": per_token,
        "bytes_overhead": moved / whole - 1,
        "bandwidth_seconds_per_token": per_token / bandwidth,
    }


def _read_by_amateur(own: OwnPrompt, text: PricedText) -> int:
    """Count the tokens that an amateur with a forward pass of its own reads of a prompt: their number is all."""
    alone = None if text.without_context is None else (0,) * text.without_context
    return len(own.read((0,) * text.prompt_tokens, alone))


def _shapes(arm: PricedArm) -> Counter[tuple[PricedText, int]]:
    """The different texts by what their costs depend on, each with its steps, and how many there are of each.

    A text that ended by itself took one step more than it has tokens, an empty one exactly one.
    """
    return Counter((text, min(arm.setting.max_new_tokens, text.tokens + 1)) for text in arm.texts)


def _steps(arm: PricedArm) -> int:
    """Count the steps of all texts together."""
    return sum(times * taken for (_, taken), times in _shapes(arm).items())


def _exits(expert: LanguageModel, arm: PricedArm) -> dict[str, float]:
    """Say how far the rows went that were read after the prompt, where the expert may exit early."""
    if arm.setting.adaptive_exit is None:
        return {}
    layers = [layer for text in arm.texts for layer in text.exit_layers]
    early = sum(layer < expert.parts.depth for layer in layers)
    rows = len(layers) or NAN
    return {"exit_layer": sum(layers) / rows, "exit_share": early / rows}


def _seconds(latency: Latency, alone: Latency, confidence: float) -> dict[str, float]:
    """Summarise the latency of single lanes; a token is one after the first."""
    mine, others = latency.per_token(), alone.per_token()
    overhead = ratio_over_turns(mine, others, confidence) if mine and others else NOTHING
    found = {
        **over_passes(latency.prefill_seconds, confidence).named("prefill_seconds"),
        **over_passes(mine, confidence).named("decode_seconds_per_token"),
        **overhead.named("latency_overhead"),
    }
    for percent, spread in quantiles(latency.token_seconds, confidence).items():
        found |= spread.named(f"decode_seconds_p{percent}")
    return found


def _energy(latency: Latency, confidence: float) -> dict[str, float]:
    """Compute the energy of a pass, prompt included, over the tokens of the text; NaN without a counter, never 0."""
    if not latency.joules or any(map(math.isnan, latency.joules)):
        return NOTHING.named("joules_per_token")
    tokens = 1 + len(latency.token_seconds[0])
    spread = over_passes([joules / tokens for joules in latency.joules], confidence)
    return spread.named("joules_per_token")
