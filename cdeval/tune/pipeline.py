"""Tuning on one page: arms with settings in, the best setting of each and the curve of the best of n out.

arms x settings -> one study, as of `cdeval.run` -> the criterion of each, and in resamples of the prompts -> choice
"""

import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cdeval.config.grids import TunedArm
from cdeval.config.schema import ProtocolConfig, RunConfig
from cdeval.errors import CdevalError, ConfigError
from cdeval.metrics.compare import resample_counts
from cdeval.metrics.registry import all_metrics, chosen_metrics
from cdeval.metrics.scorefile import ArmScores, read_scores
from cdeval.records import Estimate, document_of
from cdeval.report.reading import required, scores_of, settings_of
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import to_page
from cdeval.study.open import StudyRequest, group_by_study
from cdeval.study.pipeline import run_study
from cdeval.tune.arms import TriedSetting, Tuned
from cdeval.tune.chosen import sweep_name, write_chosen
from cdeval.tune.config import TuneRun
from cdeval.tune.criterion import Criterion, metrics_used
from cdeval.tune.curve import best_of_each
from cdeval.tune.page import write_page

# What is tuning's own, or would run the chosen arms on the texts that they were chosen by.
_TUNING = re.compile(r"\+*(arms|settings|criterion|at_least|spaces|tune_on_test|tune|prompts\.split|study)\b")
_PLAIN = re.compile(r"'([\w./:~-]+)'")  # quotes that the command adds to what is typed, where they are not needed


class Tuning(NamedTuple):
    """What the command shows."""

    tuned: Sequence[Tuned]
    notes: Sequence[str]
    failures: Sequence[CdevalError]


def run_tuning(
    config: TuneRun,
    arms: Sequence[TunedArm],
    configs: Sequence[RunConfig],
    plain: Sequence[Mapping[str, object]],
    criterion: Criterion,
    say: Callable[[str], None],
) -> Tuning:
    """Run the settings of all arms as one study, choose the best of each arm, and write what was found.

    Args:
        config: checked settings of the command.
        arms: with their settings.
        configs: of all settings, arm by arm.
        plain: the same as plain values.
        criterion: what is chosen by.
        say: takes one line of progress at a time.

    Raises: CdevalError: as `run_study`; ConfigError: arms cannot be compared.
    """
    names = metrics_used(criterion, [metric.name for metric in chosen_metrics(configs[0].metrics)])
    if len(group_by_study(configs)) > 1:
        raise ConfigError(
            "arms: they are compared as one study, and differ in more than amateur, contrast and search. Give expert, "
            "prompts, length and metrics once, outside arms."
        )
    say(f"{len(arms)} arms, {config.settings} settings each, by {criterion}")
    result = run_study([StudyRequest(*one) for one in zip(configs, plain, strict=True)], say)
    kept = [ArmScores() if name is None else read_scores(result.folder / name) for name in result.folders]
    prompts = _prompts(kept, names)
    weights = resample_counts(len(prompts), config.metrics.bootstrap_draws, config.seed) if prompts else np.ones((1, 0))
    tuned = []
    for place, arm in enumerate(arms):
        own = slice(place * config.settings, (place + 1) * config.settings)
        settings = _settings(arm, result.folder, result.folders[own], criterion)
        values = np.array([one.value for one in settings])
        drawn = np.stack(
            [_in_draws(one, criterion, names, prompts, weights, config.protocol) for one in kept[own]], axis=1
        )
        curve = best_of_each(values, drawn, config.metrics.confidence, len(prompts), config.seed)
        tuned.append(Tuned(arm, settings, None if np.isnan(values).all() else int(np.nanargmax(values)), curve))
    folder, failures = result.folder, list(result.failures)
    failures += [_without(one, criterion) for one in tuned if one.best is None]
    wrote = write_chosen(config, tuned, criterion, folder / "chosen")
    replace_file(folder / "tune.json", to_page(_record(config, criterion, tuned)))
    write_page(folder / "tune.html", folder.name, tuned, criterion, config.metrics.confidence)
    notes = [*result.notes[:1], f"to look at: {folder / 'tune.html'}", f"results: {folder}"]
    if wrote:
        notes.append(f"the chosen arms on the test split: {_command(config, folder)}")
    return Tuning(tuned, notes, failures)


def _prompts(kept: Sequence[ArmScores], names: Sequence[str]) -> list[str]:
    """The texts that the prompts were cut from by which some setting is scored, in their order."""
    rows = [one.scores[name].rows for one in kept for name in names if name in one.scores]
    ids = [row.ids for row in rows if row is not None] + [one.codes.ids for one in kept if one.codes is not None]
    return list(dict.fromkeys(document_of(prompt) for of_arm in ids for prompt in of_arm))


def _settings(arm: TunedArm, root: Path, folders: Sequence[str | None], criterion: Criterion) -> list[TriedSetting]:
    nothing: dict[str, Estimate] = {}
    found = []
    for overrides, name in zip(arm.tried, folders, strict=True):
        scores = nothing if name is None else required(root / name / "metrics.json", scores_of, nothing)
        numbers = {
            metric: np.array(scores[metric].value if metric in scores else np.nan) for metric in criterion.metrics
        }
        label = (
            "" if name is None else str(settings_of(root / name / "config.yaml").get("point", {}).get("label", name))
        )
        found.append(TriedSetting(overrides, label, name, scores, float(criterion.of(numbers))))
    return found


def _in_draws(
    kept: ArmScores,
    criterion: Criterion,
    names: Sequence[str],
    prompts: Sequence[str],
    weights: NDArray[np.float64],
    protocol: ProtocolConfig,
) -> NDArray[np.float64]:
    """The criterion of a setting in every draw of the prompts."""
    metrics = {metric.name: metric for metric in all_metrics()}
    return criterion.of({name: metrics[name].in_draws(kept, protocol, prompts, weights) for name in names})


def _without(one: Tuned, criterion: Criterion) -> ConfigError:
    reasons = [estimate.note for tried in one.settings for estimate in tried.scores.values() if estimate.note]
    failed = sum(tried.folder is None for tried in one.settings)
    why = f"{failed} of its settings failed" if failed else next(iter(reasons), "") if not criterion.at_least else ""
    return ConfigError(
        f"arms: {one.arm.line!r}: none of {len(one.settings)} settings has a value by {criterion}"
        f"{f' ({why})' if why else ''}. Lower at_least, or give the arm other settings; the other arms are chosen."
    )


def _record(config: TuneRun, criterion: Criterion, tuned: Sequence[Tuned]) -> dict[str, Any]:
    return {
        "criterion": criterion.text,
        "at_least": criterion.at_least,
        "settings": config.settings,
        "split": config.prompts.split.value,
        "seed": config.seed,
        "arms": [
            {
                "arm": one.arm.line,
                "chosen": None if one.chosen is None else " ".join(one.chosen.overrides),
                "best_of": [point._asdict() for point in one.curve],
                "tried": [
                    {
                        "overrides": " ".join(tried.overrides),
                        "label": tried.label,
                        "folder": tried.folder,
                        "criterion": tried.value,
                        **{name: tried.scores[name] for name in criterion.metrics if name in tried.scores},
                    }
                    for tried in one.settings
                ],
            }
            for one in tuned
        ],
    }


def _command(config: TuneRun, folder: Path) -> str:
    """The command that runs the chosen arms: with what was typed of the study, without what is tuning's own."""
    typed = [_PLAIN.sub(r"\1", word) for word in sys.argv[1:] if _TUNING.match(word) is None]
    words = ["--config-dir", str(folder / "chosen"), f"+sweep={sweep_name(config.study)}", *typed]
    return " ".join(["python -m cdeval.run", *map(shlex.quote, words)])
