"""A test of the anti-loop margin on a study: every exit's margin, and KL, beside its texts' diversity.

study's files -> its exits, as they were subtracted ─┐
texts of the other split -> passages ────────────────┴→ margins and KLs, beside diversities -> ranks -> a table and JSON
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cdeval.config.enums import Context, Form, SearchKind, TemperatureForm
from cdeval.config.exits import Lens, Selection
from cdeval.config.naming import shortened
from cdeval.errors import ModelError, StorageError
from cdeval.lens.config import LensRun
from cdeval.lens.linear import kept
from cdeval.lens.loops import mean_margin, passage_readings
from cdeval.lens.pipeline import held_out_texts
from cdeval.lens.reading import Contrast, View
from cdeval.lens.rule import groups, rank_correlation
from cdeval.metrics.diversity import diversity, ngram_counts
from cdeval.models.lens import Translator, read_lens
from cdeval.models.loading import LanguageModel, open_model
from cdeval.prompts.tokens import TextCodec
from cdeval.records import MarginCorrelation, PredictedSetting
from cdeval.report.studyfiles import Arm, read_study
from cdeval.store.files import require_writable
from cdeval.store.folder import replace_file
from cdeval.store.hashing import is_whole
from cdeval.store.private import expanded
from cdeval.store.strict_json import to_page

_SEARCHES = (SearchKind.beam.name, SearchKind.greedy.name)  # draws hardly loop, whatever is subtracted


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result of the command, as it is shown."""

    settings: list[PredictedSetting]
    ranks: Mapping[str, MarginCorrelation]  # by the settings that are ranked together
    passages: int
    prompts: int  # that every setting continued
    file: Path


def predict(config: LensRun, say: Callable[[str], None]) -> Prediction:
    """Hold the margins of a study's exits against its texts.

    Args:
        config: checked; `config.study` is the study's folder.
        say: takes one line of progress at a time.

    Raises: StorageError: no such study, or no exits under beam or greedy search in it. ModelError: another expert made
        it, or a lens is gone or another one. CdevalError: as `lens.pipeline.run_lens`.
    """
    study = read_study(Path(config.study or ""))
    arms = [arm for arm in study.decoded if _fits(arm.setting)]
    if not any(_subtracts(arm) for arm in arms):
        raise StorageError(
            f"study={config.study}: none of its {len(study.decoded)} settings subtracts one exit layer at every token "
            "from whole contexts under beam or greedy search. Name one made by, for example, +sweep=layers."
        )
    name = f"{shortened(study.name, 250)}.json"
    file = Path(config.out) if config.out else Path(config.runs) / "lens" / name
    require_writable(file)
    counts = _counts(arms)
    texts = held_out_texts(config)
    expert = open_model(config.expert).load(packed=False)
    _check_expert(arms, expert, config)
    codec = TextCodec(expert.tokenizer)
    passages = [codec.prompt_ids(text.text)[: config.text_tokens] for text in texts]
    exits = [arm for arm in arms if _subtracts(arm)]
    say(f"margins of {len(exits)} settings of {study.name} on texts of the split {config.prompts.split.other.value}")
    read = passage_readings(expert, passages, _cases(exits, expert), say)
    place_of = {arm.folder: place for place, arm in enumerate(exits)}  # labels of two commands may be equal
    columns = [place_of.get(arm.folder, len(exits)) for arm in arms]
    margins = read.margins[:, columns]
    divergences = np.pad(read.divergences, ((0, 0), (0, 1)), constant_values=np.nan)[:, columns]
    settings = [
        PredictedSetting(
            arm.label,
            arm.setting["amateur"]["lens"] if _subtracts(arm) else "",
            arm.setting["search"],
            mean_margin(margins[:, place], config.seed),
            float(divergences[:, place].mean()),
            float(diversity(counts[:, place])),
        )
        for place, arm in enumerate(arms)
    ]
    ranks = _ranks(arms, margins, divergences, counts)
    found = Prediction(settings, ranks, len(margins), len(counts), file)
    replace_file(file, to_page({"study": study.name, "settings": settings, "ranks": ranks}))
    return found


def _ranks(
    arms: Sequence[Arm],
    margins: Float[np.ndarray, "passage arm"],
    divergences: Float[np.ndarray, "passage arm"],
    counts: Int[np.ndarray, "prompt arm 6"],
) -> dict[str, MarginCorrelation]:
    """Correlate margins and divergences with the texts' diversity, by the settings that are ranked together."""
    lenses = [arm.setting["amateur"]["lens"] if _subtracts(arm) else "" for arm in arms]
    alphas = [f"α={arm.setting['alpha']:g}" if _subtracts(arm) else "" for arm in arms]
    found = {}
    for name, mine in groups([arm.setting["search"] for arm in arms], lenses, alphas).items():
        exits = [place for place in mine if _subtracts(arms[place])]
        found[name] = MarginCorrelation(
            rank_correlation(margins[:, mine], counts[:, mine]),
            rank_correlation(divergences[:, exits], counts[:, exits]),
        )
    return found


def _fits(setting: Mapping[str, Any]) -> bool:
    """Whether the margin speaks of such a setting: an exit or nobody, in the form that the margin has."""
    amateur = setting.get("amateur") or {}
    kind = amateur.get("kind")
    own = setting.get("search") in _SEARCHES
    own &= not any(setting.get(name) for name in ("adaptive_exit", "plausibility", "token_weight"))
    if kind == "none":
        return own
    same = kind == "early_exit" or (kind == "truncated" and amateur.get("context") == Context.full.name)
    one = amateur.get("selection") == Selection.fixed.name
    form = (setting.get("form"), setting.get("temperature_form"))
    return own and same and one and form == (Form.difference.name, TemperatureForm.softmax.name)


def _subtracts(arm: Arm) -> bool:
    return bool(arm.setting["amateur"]["kind"] != "none")


def _counts(arms: Sequence[Arm]) -> Int[np.ndarray, "prompt arm 6"]:
    """N-grams of every arm's texts, over the prompts that all continued. Raises: StorageError: there are none."""
    found = [{(text.id, text.sample): text.continuation for text in arm.generations} for arm in arms]
    shared = [key for key in found[0] if all(key in texts for texts in found)]
    if not shared:
        raise StorageError("the study's settings share no prompt: run it to its end.")
    return np.stack([ngram_counts([texts[key] for key in shared]) for texts in found], axis=1)


def _check_expert(arms: Sequence[Arm], expert: LanguageModel, config: LensRun) -> None:
    made = {str(arm.provenance.get("models", {}).get("fingerprint")) for arm in arms}
    if not any(map(is_whole, made)):
        raise StorageError(
            f"study={config.study} was made by an older release of cdeval, which knew its expert by a sample of the "
            f"weights: whether that was {expert.name} cannot be told. Decode it anew, under another study=."
        )
    if made != {expert.fingerprint}:
        raise StorageError(
            f"study={config.study} was made by another expert, or in another number format, than {expert.name} in "
            f"{expert.dtype_name}: give this command the study's expert= and expert.dtype=."
        )


def _cases(exits: Sequence[Arm], expert: LanguageModel) -> list[tuple[View, Contrast]]:
    """List each exit as it was subtracted; settings that differ in contrast alone share their view."""
    views: dict[tuple[int, str, str | None, str | None], View] = {}
    cases = []
    for arm in exits:
        amateur = arm.setting["amateur"]
        layer, lens, file = int(amateur["layer"]), Lens[amateur["lens"]], amateur["lens_file"]
        made = arm.provenance["models"]["lens"]["digest"] if lens.translates else None
        key = layer, lens.name, file, made
        if key not in views:
            views[key] = View(layer, lens, _translator(arm, lens, expert) if lens.translates else None)
        contrast = Contrast(*(float(arm.setting[name]) for name in ("alpha", "beta", "temperature")))
        cases.append((views[key], contrast))
    return cases


def _translator(arm: Arm, kind: Lens, expert: LanguageModel) -> Translator:
    """The arm's layer of its lens. Raises: ModelError: its file is gone, or was trained anew since."""
    layer, made = int(arm.setting["amateur"]["layer"]), arm.provenance["models"]["lens"]["digest"]
    if kind is Lens.linear:
        found = kept(made, [layer], expert, lambda _line: None)
        if layer not in found:
            raise ModelError(
                f"the linear lens of layer {layer} that '{arm.label}' was decoded with is no longer in the cache: give "
                "the study's own command again, which fits it and decodes nothing twice."
            )
        return found[layer]
    file = arm.setting["amateur"]["lens_file"]
    lens = read_lens(Path(expanded(file)), [layer], expert.model.config.hidden_size)
    if made != lens.digest:
        raise ModelError(
            f"{file} is not the lens that '{arm.label}' was decoded with: its layer's digest is {lens.digest[:8]}, not "
            f"{str(made)[:8]}. Put the old file back, or decode the study anew with this one."
        )
    return lens.on(expert).translators[layer]
