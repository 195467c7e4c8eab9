"""What a reader calls a setting: in the field's own signs, as short as it can be told apart."""

from collections.abc import Sequence
from pathlib import Path

from cdeval.config.enums import AmateurKind, Context, Form, Normalizer, Pool, SearchKind, TemperatureForm
from cdeval.config.exits import DECAY, Lens, Selection
from cdeval.config.setting import AdaptiveExit, Amateur, Setting


def label_of(setting: Setting) -> str:
    """A setting in the field's own signs; what has its usual value is left out."""
    search = search_name(setting)
    if setting.adaptive_exit is not None:
        search = f"{_adaptive_name(setting.adaptive_exit)}, {search}"
    if not setting.amateur.contrasts:
        return search if setting.adaptive_exit else f"expert alone, {search}"
    form = "" if setting.temperature_form is TemperatureForm.softmax else " log p/T"
    numbers = f"α={setting.alpha:g} β={setting.beta:g} T={setting.temperature:g}{form}"
    unusual = [
        (setting.normalizer is not Normalizer.full, "candidates"),
        (setting.form is not Form.difference, setting.form.value),
        (setting.expert_top_k is not None, f"top-{setting.expert_top_k}"),
        (setting.min_tokens > 1, f"at least {setting.min_tokens}"),
        (setting.pool is Pool.local, "local pool"),
    ]
    return " ".join([name_of(setting.amateur), numbers, *(name for holds, name in unusual if holds)]) + f", {search}"


def search_name(setting: Setting) -> str:
    """A search in a few words."""
    match setting.search:
        case SearchKind.greedy:
            return "greedy"
        case SearchKind.beam:
            return f"beam {setting.beams}"
        case SearchKind.contrastive_search:
            return f"contrastive search k={setting.beams} α={_short(setting.penalty)}"
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
    if own.seed:
        words.append(f"seed {own.seed}")
    if own.samples > 1:
        words.append(f"×{own.samples}")
    return " ".join(words)


def _short(value: float) -> str:
    """0.95 as .95."""
    text = f"{value:g}"
    return text.removeprefix("0") if text.startswith("0.") else text


def name_of(amateur: Amateur) -> str:
    """An amateur in a few words."""
    name = {
        AmateurKind.none: "no amateur",
        AmateurKind.early_exit: f"early_exit {_exit_of(amateur)}",
        AmateurKind.truncated: f"truncated k={amateur.layer}",
        AmateurKind.model: "@".join(filter(None, (Path(amateur.name or "").name, amateur.revision))),
        AmateurKind.ngram: f"{amateur.order}-gram",
    }[amateur.kind]
    return name if amateur.context is Context.full else f"{name} generated context"


def _exit_of(amateur: Amateur) -> str:
    """Which layers, chosen how, seen through which lens; the final norm goes without saying."""
    layers = _layers_name(amateur.exits)
    by = ""
    if amateur.selection is Selection.jsd:
        by = " by jsd"
    elif amateur.measure is not None:
        by = f" by {amateur.measure.value} λ={amateur.threshold:g}"
    lens = "" if amateur.lens is Lens.norm else f" {amateur.lens.value} lens"
    return f"k={layers}{by}{lens}"


def _adaptive_name(own: AdaptiveExit) -> str:
    """Where the expert may exit, and when."""
    decay = "" if own.decay == DECAY else f" τ={_short(own.decay)}"
    return f"CALM k={_layers_name(own.layers)} by {own.measure.value} λ={_short(own.threshold)}{decay}"


def _layers_name(layers: Sequence[int]) -> str:
    """Few of them one by one, many by their ends and number."""
    return ",".join(map(str, layers)) if len(layers) <= 4 else f"{layers[0]}..{layers[-1]} ({len(layers)})"
