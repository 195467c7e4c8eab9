"""Costs of the arms of a study: timed in turn, priced, and kept for as long as the same arms are asked for."""

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from cdeval.config.enums import Compile, SearchKind
from cdeval.config.points import Point
from cdeval.config.schema import RunConfig
from cdeval.cost.latency import Latency
from cdeval.cost.price import NOT_TIMED, PricedArm, PricedText, price_arms
from cdeval.errors import StorageError
from cdeval.prompts.load import PromptSet
from cdeval.records import Generation
from cdeval.report.reading import below_nothing
from cdeval.store.folder import RunFolder, replace_file
from cdeval.store.ledger import Ledger, digest_of
from cdeval.store.progress import Steps
from cdeval.store.strict_json import plain, to_page
from cdeval.study.models import OpenedModels, StudyModels
from cdeval.study.open import LoadedStudy
from cdeval.study.run_folders import Texts
from cdeval.study.timing import Timing, passes, time_apart, time_here, time_loaded

TIMED = "timed.json"  # of a study: its timings, the last one first; the same arms are not timed again
_EARLIER = "earlier"


def price_points(study: LoadedStudy, folders: Mapping[Point, RunFolder], texts: Texts) -> dict[Point, dict[str, float]]:
    """Find what every point of a study costs: as it was kept, or timed in turn now.

    The times of single tokens are stored, too (`latency.json`).

    Args:
        study: whose points they are.
        folders: of the points, held.
        texts: of the points.

    Raises: CdevalError: as `timing.time_apart`.
    """
    kept = kept_costs(folders, study.config, study.root, study.say)
    if kept is not None:
        return kept
    alone = {prompt.id: prompt.without_context for prompt in study.prompts.prompts}
    arms = {
        point.label: PricedArm(point.setting, [_text(text, alone.get(text.id)) for text in found])
        for point, found in texts.items()
        if point.setting is not None and found
    }
    priced, latency = price_and_time(arms, study.models, study.opened, study.prompts, study.config, study.say)
    for point, folder in folders.items():
        if point.label in latency:
            folder.write_json("latency.json", latency[point.label])
    return {point: priced.get(point.label, {}) for point in texts}


def price_and_time(
    arms: Mapping[str, PricedArm],
    models: StudyModels,
    opened: Sequence[OpenedModels],
    prompts: PromptSet,
    config: RunConfig,
    say: Callable[[str], None],
) -> tuple[dict[str, dict[str, float]], Mapping[str, Latency]]:
    """Time arms in turn, as far as the configuration asks for it, and price them.

    Args:
        arms: by label.
        models: that the costs are of.
        opened: from which the models were loaded, for the process that times them.
        prompts: that are timed.
        config: how often they are timed, and where.
        say: takes one line of progress.

    Returns: the costs by arm, and the passes behind them.

    Raises: CdevalError: as `timing.time_apart`.
    """
    timed = NOT_TIMED
    repeats = config.cost.latency_repeats
    if repeats:
        say(f"timing {len(arms)} arms in turn, {repeats} passes each after a warm-up")
        settings = {label: arm.setting for label, arm in arms.items()}
        execution, threads = config.execution, torch.get_num_threads()
        timing = Timing(tuple(opened), prompts, settings, repeats, execution.compact_every, threads, execution.compile)
        with Steps(say, "timing: pass", passes(timing)) as steps:
            if config.cost.isolated:
                timed = time_apart(timing, passed=steps.advance)
            elif models.expert.device.type == "meta":
                timed = time_loaded(timing, steps.advance)
            else:
                timed = time_here(models, timing, steps.advance)
    priced = price_arms(models.expert, arms, timed, models.amateur_models, config.metrics.confidence)
    return priced, timed.latency


def _text(made: Generation, without_context: tuple[int, ...] | None) -> PricedText:
    alone = None if without_context is None else len(without_context)
    return PricedText(len(made.prompt_token_ids), len(made.token_ids), made.exit_layers, alone)


def kept_costs(
    folders: Mapping[Point, RunFolder], config: RunConfig, root: Path, say: Callable[[str], None]
) -> dict[Point, dict[str, float]] | None:
    """Read what these arms cost when they were last timed; None where they were never timed together, or otherwise.

    Costs that are damaged are measured again, like those that are missing, and a line says so.
    """
    if not all(folder.done for folder in folders.values()) or not os.path.lexists(root / TIMED):
        return None
    try:
        timed = RunFolder(root).read_mapping(TIMED)
        timings = _timings(timed)
        if _timing(folders, config) not in [_arms_of(timing) for timing in timings]:
            return None
        found = {point: folder.numbers("costs.json") for point, folder in folders.items()}
        for point, costs in found.items():
            # An arm that several commands asked for, as the expert alone, has the costs of whichever timed it last.
            known = [_measured(timing, point) for timing in timings]
            _check(folders[point].path / "costs.json", point, costs, [one for one in known if one is not None])
    except StorageError as error:
        say(f"{str(error).partition('. ')[0]}: what the arms cost is measured again")
        return None
    return found


def _check(path: Path, point: Point, costs: Mapping[str, float], known: Collection[object]) -> None:
    """Check stored costs. Raises: StorageError: they are not those that were measured, or cannot be an arm's."""
    if known and _digest(costs) not in known:
        raise StorageError(f"{path} was changed after it was written")
    counted = point.setting is not None and point.setting.search is not SearchKind.hf
    if counted and not math.isfinite(costs.get("expert_decode_flops", math.nan)):
        raise StorageError(f"{path} has no costs of an arm")
    wrong = below_nothing(costs)
    if wrong is not None:
        raise StorageError(f"{path}: {wrong} is {costs[wrong]:g}, less than nothing")


def keep_costs(costs: Mapping[Point, Mapping[str, float]], config: RunConfig, root: Path) -> None:
    """Store which arms were timed in turn, and digests of their costs.

    Timings of other arms stay, so that their commands need not time them again; those by another number of passes stay
    only where they share no arm with this one, whose costs it replaces.
    """
    digests = {point.digest: _digest(of_point) for point, of_point in costs.items()}
    timing = _timing(costs, config)
    mine = {point.digest for point in costs if point.setting is not None}
    with Ledger(root, lambda _line: None).locked():  # other processes keep the costs of their arms there, too
        earlier: list[Mapping[str, Any]] = []
        with suppress(StorageError):  # missing or broken: the others are measured again
            for one in _timings(RunFolder(root).read_mapping(TIMED)):
                points = one.get("points")
                apart = isinstance(points, list) and mine.isdisjoint(map(str, points))
                if _arms_of(one) != timing and (apart or one.get("repeats") == timing["repeats"]):
                    earlier.append(one)
        replace_file(root / TIMED, to_page({**timing, "costs": digests, _EARLIER: earlier}))


def _digest(costs: Mapping[str, float]) -> str:
    """Digest of costs that is the same for 1 and 1.0: whole numbers come back from a file as floats."""
    return digest_of(plain({name: float(value) for name, value in costs.items()}))


def _timings(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List all timings of a study, the last one first."""
    earlier = record.get(_EARLIER)
    found = [record, *(earlier if isinstance(earlier, list) else [])]
    return [{name: one[name] for name in one if name != _EARLIER} for one in found if isinstance(one, dict)]


def _measured(timing: Mapping[str, Any], point: Point) -> object:
    """Read the digest of the point's costs in a timing; None where it has none."""
    digests = timing.get("costs")
    return digests.get(point.digest) if isinstance(digests, dict) else None


def _arms_of(timing: Mapping[str, Any]) -> dict[str, object]:
    return {name: timing.get(name) for name in ("points", "repeats", "compile")}


def _timing(points: Iterable[Point], config: RunConfig) -> dict[str, object]:
    """Describe which arms were timed in turn, how often, and whether their steps were compiled, if that was asked."""
    compiled = config.execution.compile
    return {
        "points": [point.digest for point in points],
        "repeats": config.cost.latency_repeats,
        "compile": None if compiled is Compile.auto else compiled.value,
    }
