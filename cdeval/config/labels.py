"""The labels of settings: in the field's own signs, as short as they can be told apart."""

import json
from collections.abc import Sequence

from cdeval.config.amateur import Amateur, kind_of
from cdeval.config.enums import Context, Form, Normalizer, Pool, SearchKind, TemperatureForm
from cdeval.config.exits import DECAY
from cdeval.config.naming import shortened
from cdeval.config.plausibility import ALPHA, RULES
from cdeval.config.setting import AdaptiveExit, Sampling, Setting
from cdeval.config.targets import named_values
from cdeval.config.token_weight import Gate, Weight

# Of the arguments of search=hf and of a gate's; labels that are then alike have a part of their digest.
_GENERATE_BYTES, _CALL_BYTES = 80, 40


def label_of(setting: Setting) -> str:
    """A setting in the field's own signs; what has its usual value is left out."""
    search = search_name(setting)
    if setting.adaptive_exit is not None:
        search = f"{_adaptive_name(setting.adaptive_exit)}, {search}"
    if not setting.amateur.contrasts:
        named = setting.adaptive_exit is not None or setting.search is SearchKind.hf
        alone = [] if named else ["expert alone"]
        if setting.masks_alone:
            alone += [mask_name(setting), *_cut_names(setting)]
        return ", ".join([*filter(None, [" ".join(alone)]), search])
    form = "" if setting.temperature_form is TemperatureForm.softmax else " log p/T"
    numbers = f"{mask_name(setting)} β={weight_name(setting)} T={setting.temperature:g}{form}"
    drawn = setting.sampling.seed if setting.search is not SearchKind.sample else 0
    words = [
        *(["candidates"] if setting.normalizer is not Normalizer.full else []),
        *([setting.form.value] if setting.form is not Form.difference else []),
        *_cut_names(setting),
        *(["local pool"] if setting.pool is Pool.local else []),
        *([f"seed {drawn}"] if drawn != 0 else []),
    ]
    return " ".join([name_of(setting.amateur), numbers, *words]) + f", {search}"


def mask_name(setting: Setting) -> str:
    """A rule of plausibility in a few words."""
    rule = setting.plausibility
    return f"α={setting.alpha:g}" if rule == ALPHA else RULES[rule.rule].label(rule.settings)


def weight_name(setting: Setting) -> str:
    """The amateur's weight, and where it has any."""
    own, name = setting.token_weight, f"{setting.beta:g}"
    if own.weight is Weight.entropy:
        name = "H" if setting.beta == 1 else f"{name}H"
        name += f"≤{own.most:g}" if own.most is not None else ""
    if own.gate is Gate.entropy:
        name += f" where H>{own.entropy:g}"
    if own.gate is Gate.callable:
        name += f" where {shortened(named_values({'': json.loads(own.call)}), _CALL_BYTES)}"
    return f"{name} where both agree" if own.gate is Gate.agreement else name


def _cut_names(setting: Setting) -> list[str]:
    """Name what cuts the expert's tokens beside the rule."""
    best = [f"top-{setting.expert_top_k}"] if setting.expert_top_k is not None else []
    return best + ([f"at least {setting.min_tokens}"] if setting.min_tokens > 1 else [])


def search_name(setting: Setting) -> str:
    """A search in a few words."""
    match setting.search:
        case SearchKind.greedy:
            return "greedy"
        case SearchKind.beam:
            return f"beam {setting.beams}"
        case SearchKind.contrastive_search:
            return f"contrastive search k={setting.beams} α={_short(setting.penalty)}"
        case SearchKind.hf:
            values = shortened(named_values(json.loads(setting.generate or "{}")), _GENERATE_BYTES)
            return " ".join(filter(None, ["generate", values, *_drawn_names(setting.sampling)]))
    own = setting.sampling
    narrowed = {
        "top-k {}": own.top_k,
        "nucleus p={}": own.top_p,
        "min-p {}": own.min_p,
        "typical {}": own.typical_p,
        "eta {}": own.eta,
    }
    words = [form.format(_short(value)) for form, value in narrowed.items() if value is not None] or ["sample"]
    if words == ["sample"] or own.temperature != 1:
        words.append(f"τ={_short(own.temperature)}")
    return " ".join([*words, *_drawn_names(own)])


def _drawn_names(own: Sampling) -> list[str]:
    """Name the draws: which, and how many."""
    return ([f"seed {own.seed}"] if own.seed else []) + ([f"×{own.samples}"] if own.samples > 1 else [])


def _short(value: float) -> str:
    """0.95 as .95."""
    text = f"{value:g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def name_of(amateur: Amateur) -> str:
    """An amateur in a few words."""
    name = kind_of(amateur).label(amateur)
    return name if amateur.context is Context.full else f"{name} {amateur.context.value} context"


def _adaptive_name(own: AdaptiveExit) -> str:
    """Name where the expert may exit, and when."""
    decay = "" if own.decay == DECAY else f" τ={_short(own.decay)}"
    lens = " linear lens" if own.linear else ""
    return f"CALM k={layers_name(own.layers)} by {own.measure.value} λ={_short(own.threshold)}{decay}{lens}"


def layers_name(layers: Sequence[int]) -> str:
    """Few of them one by one, many by their ends and number."""
    return ",".join(map(str, layers)) if len(layers) <= 4 else f"{layers[0]}..{layers[-1]} ({len(layers)})"
