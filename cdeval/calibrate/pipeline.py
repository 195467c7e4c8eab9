"""Calibration on one page: prompts of two splits in, a table of thresholds and a choice with a guarantee out.

prompts -> texts by all blocks, and at every threshold -> risks on one split -> Learn then Test -> a threshold
                                                          risks and FLOPs on the other split    -> what it brings
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from cdeval.calibrate.config import CalibrateRun, as_run
from cdeval.calibrate.dissimilarity import dissimilarity
from cdeval.calibrate.guarantee import fixed_sequence, texts_needed
from cdeval.calibrate.timing import seconds_per_token
from cdeval.config.amateur import kind_of
from cdeval.config.enums import PromptSource, Split
from cdeval.config.labels import label_of
from cdeval.config.plugins import loaded_plugins
from cdeval.config.points import prompts_digest
from cdeval.config.schema import RunConfig
from cdeval.config.setting import AdaptiveExit, Setting, setting_of
from cdeval.cost.capacity import lanes_at_once, own_slot_bytes
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.decode.batches import decode
from cdeval.decode.finite import not_finite
from cdeval.decode.lanes import Continuation, Lane
from cdeval.errors import PromptError
from cdeval.lens.temperature import with_temperature
from cdeval.models.loading import LanguageModel
from cdeval.prompts.cut import in_split
from cdeval.prompts.load import PromptSet
from cdeval.records import Prompt, ThresholdScore
from cdeval.report.progress import decoding_progress
from cdeval.store.files import require_writable
from cdeval.store.folder import replace_file
from cdeval.store.provenance import provenance
from cdeval.store.strict_json import to_page
from cdeval.study.models import OpenedModels, StudyModels, open_models


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """The result of the command, as it is shown."""

    scores: list[ThresholdScore]  # from the most cautious threshold down
    chosen: float | None  # the lowest accepted threshold
    notes: list[str]
    file: Path


class _Text(NamedTuple):
    """One prompt's texts."""

    prompt: Prompt
    full: Continuation  # by all blocks
    early: tuple[Continuation, ...]  # a threshold each

    def risks(self) -> list[float]:
        """Measure how far each early text is from the full one."""
        return [dissimilarity(text.token_ids, self.full.token_ids) for text in self.early]


def run_calibration(
    config: CalibrateRun, plain_config: Mapping[str, object], say: Callable[[str], None]
) -> CalibrationResult:
    """Decode the prompts of both splits by all blocks and at every threshold, and test the thresholds.

    Args:
        config: checked settings.
        plain_config: the same as plain values, for the record.
        say: takes one line of progress at a time.

    Raises: CdevalError: a user's mistake or a missing prerequisite.
    """
    file = Path(config.out) if config.out is not None else Path(config.runs) / "calm" / "calibration.json"
    require_writable(file)
    opened = open_models(as_run(config))
    split = config.prompts.split
    learnt, held_out = (_prompts(opened, each, say) for each in (split, split.other))
    everything = replace(learnt, prompts=(*learnt.prompts, *held_out.prompts))
    models = opened.load(everything, say)
    ids = [prompt.id for prompt in everything.prompts]
    run, _ = with_temperature(opened.config, models.expert, models.amateur_models, ids, say)
    full, early = _settings(run, config.thresholds)
    say(f"{label_of(full)}, against {label_of(early[0])}, and {len(early) - 1} more thresholds")
    texts = _texts(models, run, everything.prompts, [full, *early], say)
    calibration, test = texts[: len(learnt.prompts)], texts[len(learnt.prompts) :]
    seconds = _timed(config, run, models, [text.prompt for text in test], [full, *early], say)
    scores = _scores(config, models, calibration, test, [full, *early], seconds)
    chosen = min((score.threshold for score in scores if score.accepted), default=None)
    facts = {"expert": models.expert.name, "fingerprint": models.expert.fingerprint, "dtype": models.expert.dtype_name}
    record = {
        **provenance(facts, prompts_digest(everything.prompts), loaded_plugins()),
        "settings": plain_config,
        "layers": _own(early[0]).layers,
        "tolerance": config.tolerance,
        "level": config.level,
        "texts": {"calibration": len(calibration), "test": len(test)},
        "chosen": chosen,
        "scores": scores,
        "risks": {
            name: {text.prompt.id: text.risks() for text in of_split}
            for name, of_split in (("calibration", calibration), ("test", test))
        },
    }
    replace_file(file, to_page(record))
    made = [f"calibration: {learnt.describe()}", f"test: {held_out.describe()}"]
    return CalibrationResult(
        scores, chosen, [*made, *_verdict(config, _own(early[0]), scores, len(calibration), chosen)], file
    )


def _prompts(opened: OpenedModels, split: Split, say: Callable[[str], None]) -> PromptSet:
    """The prompts of a split; the items of a file are split by their ids, too. Raises: PromptError: there are none."""
    config = replace(opened.config, prompts=replace(opened.config.prompts, split=split))
    found = replace(opened, config=config).prompts()
    if config.prompts.source is PromptSource.file:
        mine = tuple(prompt for prompt in found.prompts if in_split(prompt.id, split))
        source = f"{found.source} (split {split.value})"
        found = replace(found, prompts=mine, source=source, available=len(mine), limit=None)
    if not found.prompts:
        raise PromptError(
            f"prompts={config.prompts.source.value} has no texts of the split {split.value}: a calibration needs both "
            "splits, one to choose a threshold on and one to test it on. Give more items, or choose another source."
        )
    say(found.describe())
    return found


def _settings(run: RunConfig, thresholds: Sequence[float]) -> tuple[Setting, list[Setting]]:
    """Make the setting without early exits, and the setting at every threshold."""
    setting = setting_of(run)
    own = _own(setting)
    early = [replace(setting, adaptive_exit=replace(own, threshold=threshold)) for threshold in thresholds]
    return replace(setting, adaptive_exit=None), early


def _own(setting: Setting) -> AdaptiveExit:
    own = setting.adaptive_exit
    assert own is not None  # noqa: S101 - a type narrowing: `as_run` gives a threshold
    return own


def _texts(
    models: StudyModels,
    run: RunConfig,
    prompts: Sequence[Prompt],
    settings: Sequence[Setting],
    say: Callable[[str], None],
) -> list[_Text]:
    """Decode all settings of every prompt; they share its prefill and, where there is room, their forward passes."""
    lanes = [Lane.from_prompt(prompt, setting) for prompt in prompts for setting in settings]
    longest = max(len(prompt.token_ids) for prompt in prompts) + run.search.max_new_tokens
    rows = kind_of(settings[0].amateur).head_rows(settings[0].amateur) + 1
    own = own_slot_bytes(models.amateur_models.get(settings[0].amateur))
    max_lanes = lanes_at_once(run.execution, models.expert, run.search.beams, longest, rows, own)
    found: dict[int, Continuation] = {}
    total = len(lanes) * run.search.max_new_tokens
    with decoding_progress(total, f"decoding {len(lanes)} continuations", enabled=True) as advance:
        for batch in decode(
            models.expert,
            lanes,
            amateur_models=models.amateur_models,
            max_lanes=max_lanes,
            compact_every=run.execution.compact_every,
            compiling=run.execution.compile,
            on_step=advance.tokens,
            say=say,
        ):
            found.update(zip(batch.lanes, batch.continuations, strict=True))
    for place, lane in enumerate(lanes):
        if (fault := found[place].fault) is not None:
            raise not_finite(fault, models.expert, lane.id, lane.setting)
    of_prompt = [[found[i * len(settings) + j] for j in range(len(settings))] for i in range(len(prompts))]
    return [_Text(prompt, full, tuple(early)) for prompt, (full, *early) in zip(prompts, of_prompt, strict=True)]


def _scores(
    config: CalibrateRun,
    models: StudyModels,
    calibration: Sequence[_Text],
    test: Sequence[_Text],
    settings: Sequence[Setting],
    seconds: Sequence[Mapping[int, float]],
) -> list[ThresholdScore]:
    risks, test_risks = (
        [_mean(of_threshold) for of_threshold in zip(*(text.risks() for text in texts), strict=True)]
        for texts in (calibration, test)
    )
    verdicts = fixed_sequence(risks, len(calibration), config.tolerance, config.level)
    spent = _flops(models, test, settings)
    scores = []
    for place, threshold in enumerate(config.thresholds):
        layers = [layer for text in test for layer in text.early[place].exit_layers]
        early = [layer < models.expert.parts.depth for layer in layers]
        scores.append(
            ThresholdScore(
                threshold=threshold,
                exit_layer=_mean(layers),
                exit_share=_mean(early),
                flops_saved=1 - spent[1 + place] / spent[0],
                risk=risks[place],
                p=verdicts[place].p,
                accepted=verdicts[place].accepted,
                test_risk=test_risks[place],
                seconds_per_token=seconds[1 + place],
                time_saved={count: 1 - taken / seconds[0][count] for count, taken in seconds[1 + place].items()},
            )
        )
    return scores


def _timed(
    config: CalibrateRun,
    run: RunConfig,
    models: StudyModels,
    prompts: Sequence[Prompt],
    settings: Sequence[Setting],
    say: Callable[[str], None],
) -> list[Mapping[int, float]]:
    """Seconds a token of each setting, by the number of prompts; those that the test split lacks are said."""
    length = len(prompts[0].token_ids)
    alike = [prompt for prompt in prompts if len(prompt.token_ids) == length]
    counts = [count for count in config.timed_prompts if count <= len(alike)]
    for count in config.timed_prompts:
        if count not in counts:
            say(f"timed_prompts={count}: not timed, the test split has {len(alike)} prompts of {length} tokens")
    return seconds_per_token(
        models,
        alike,
        settings,
        together=counts,
        repeats=config.timed_repeats,
        compact_every=run.execution.compact_every,
        compiling=run.execution.compile,
        say=say,
    )


def _flops(models: StudyModels, texts: Sequence[_Text], settings: Sequence[Setting]) -> list[float]:
    """FLOPs a token of each setting, as `cost.price` counts them."""
    constants, amateur_model = token_flops(models.expert), models.amateur_models.get(settings[0].amateur)
    amateurs = token_flops(amateur_model) if isinstance(amateur_model, LanguageModel) else None
    own = OwnPrompt.from_amateur(settings[0].amateur, models.expert.tokenizer)
    found = []
    for place, setting in enumerate(settings):
        answers = [(text.prompt, (text.full, *text.early)[place]) for text in texts]
        lanes = [
            lane_flops(
                constants,
                setting,
                len(prompt.token_ids),
                _steps(answer),
                amateurs,
                answer.exit_layers,
                own_prompt=len(own.read(prompt.token_ids, prompt.without_context)),
            )
            for prompt, answer in answers
        ]
        found.append(sum(lane.total for lane in lanes) / sum(lane.new_tokens for lane in lanes))
    return found


def _steps(answer: Continuation) -> int:
    """Tokens that were chosen; the end token of a text that ended by itself is one."""
    return len(answer.token_ids) + answer.ended


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _verdict(
    config: CalibrateRun, own: AdaptiveExit, scores: Sequence[ThresholdScore], texts: int, chosen: float | None
) -> list[str]:
    """Say in lines of text what was found, and how to use it."""
    promise = f"δ={config.tolerance:g}, ε={config.level:g}, n={texts}"
    risk = "risk: 1 - ROUGE-L (F) of a text to the text by all blocks, over tokens"
    if chosen is None:
        needed = texts_needed(config.tolerance, config.level)
        few = f" {texts} texts cannot show it even without any risk: it takes {needed}." if texts < needed else ""
        remedy = "Raise tolerance, begin with a higher threshold or later layers, or give more texts (prompts.limit)."
        return [risk, f"no threshold is accepted ({promise}).{few} {remedy}"]
    found = next(score for score in scores if score.threshold == chosen)
    layers = ",".join(map(str, own.layers))
    use = (
        f"search.adaptive_exit.threshold={chosen:g} search.adaptive_exit.measure={own.measure.value} "
        f"search.adaptive_exit.decay={own.decay:g} search.adaptive_exit.layers=[{layers}]"
        + (" search.adaptive_exit.lens=linear" if own.linear else "")
        + (f" search.adaptive_exit.lens_texts={own.lens_texts}" if own.lens_texts is not None else "")
    )
    return [
        risk,
        f"chosen: λ={chosen:g} ({promise}): its mean risk is at most {config.tolerance:g}, but for a probability of "
        f"{config.level:g} at most over the choice of the calibration texts; {found.test_risk:.3f} on the test texts",
        f"use it by: {use}",
    ]
