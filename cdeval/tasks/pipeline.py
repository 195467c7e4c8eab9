"""The command on one page: tasks and arms in, tables of answers, costs and paired differences out.

arms -> models, read once -> lm_eval asks each arm the same items -> items and costs -> comparisons -> files
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cdeval.assets.extras import library_of
from cdeval.config.naming import shortened, slug
from cdeval.config.plugins import loaded_plugins
from cdeval.config.schema import RunConfig
from cdeval.errors import ConfigError, one_line
from cdeval.integrations.lm_eval.arms import HarnessArm, LikelihoodBy, open_arms
from cdeval.integrations.lm_eval.model import CdevalLM, ItemCost
from cdeval.metrics.compare import Settings
from cdeval.store.files import require_writable
from cdeval.store.folder import replace_file
from cdeval.store.progress import Steps
from cdeval.store.provenance import provenance
from cdeval.store.strict_json import encode, to_line, to_page
from cdeval.tasks.compare import Item, ItemScores, compared, estimate
from cdeval.tasks.config import TasksRun
from cdeval.tasks.results import TaskRow, TasksResult
from cdeval.tasks.tables import markdown_tables

_COMMAND = "cdeval.tasks"


def run_tasks(
    config: TasksRun, configs: Sequence[RunConfig], plain_configs: Sequence[object], say: Callable[[str], None]
) -> TasksResult:
    """Ask every arm, compare them, and write what was found.

    Args:
        config: checked settings of the command.
        configs: checked settings of each arm.
        plain_configs: the same as plain values, for the record.
        say: takes one line of progress at a time.

    Raises: ConfigError: there is no such task. CdevalError: a model cannot be opened.
    """
    folder = Path(config.runs) / config.study
    require_writable(folder / "tasks.json")
    manager = _tasks_of(config)
    arms = open_arms(configs, LikelihoodBy[config.likelihood.name], say)
    found: dict[str, dict[str, Any]] = {}
    costs: dict[str, Mapping[tuple[str | None, int | None], ItemCost]] = {}
    with Steps(say, "asking arm", len(arms)) as steps:
        for arm in arms:
            lm = CdevalLM(arm)
            found[arm.label] = _asked(lm, config, manager)
            costs[arm.label] = lm.costs
            steps.advance()
    samples = {label: result["samples"] for label, result in found.items()}
    measured = [one for task in next(iter(samples.values())) for one in _measured(task, samples)]
    settings = Settings(config.confidence, config.bootstrap_draws, config.seed)
    against = arms[(config.against or len(arms)) - 1].label
    comparisons = compared(measured, against, settings) if len(arms) > 1 else []
    rows = [
        _row(label, task, measured, samples[label][task], costs[label], settings)
        for task in next(iter(samples.values()))
        for label in samples
    ]
    notes = _notes(config, against, measured, found)
    result = TasksResult(rows, comparisons, notes, folder)
    _write(result, config, arms, plain_configs, samples, costs)
    return result


def _tasks_of(config: TasksRun) -> Any:
    """Find the tasks: lm_eval's own take seconds to list, and are asked only for what is not among the user's.

    Returns: lm_eval's TaskManager. Raises: ConfigError: there is none of a name, or no such folder.
    """
    for name in config.include:
        if not Path(name).is_dir():
            raise ConfigError(f"include={name}: there is no such folder. Give one with the YAML files of tasks.")
    manager_of = library_of("lm-eval", "lm_eval.tasks", _COMMAND).TaskManager
    unknown = list(config.tasks)
    for own_alone in (True, False) if config.include else (False,):
        manager = manager_of(include_path=list(config.include) or None, include_defaults=not own_alone)
        unknown = [name for name in config.tasks if not manager.match_tasks([name])]
        if not unknown:
            return manager
    raise ConfigError(
        f"tasks: lm_eval knows no task {unknown[0]!r}. python -m cdeval.integrations.lm_eval ls tasks lists them; "
        "include=[folder] adds those of your own."
    )


def _asked(lm: CdevalLM, config: TasksRun, manager: Any) -> dict[str, Any]:
    """The results of lm_eval. Raises: ConfigError: it cannot load a task, as where the hub is away."""
    simple_evaluate = library_of("lm-eval", "lm_eval.evaluator", _COMMAND).simple_evaluate
    try:
        found: dict[str, Any] = simple_evaluate(
            model=lm,
            tasks=list(config.tasks),
            task_manager=manager,
            num_fewshot=config.fewshot,
            limit=config.limit,
            apply_chat_template=config.chat_template,
            bootstrap_iters=0,  # the intervals here are paired
            random_seed=config.seed,
            numpy_random_seed=config.seed,
            torch_random_seed=config.seed,
            fewshot_random_seed=config.seed,
        )
    except (OSError, KeyError, ValueError) as error:
        kind = type(error).__name__
        raise ConfigError(f"tasks={','.join(config.tasks)}: lm_eval says {kind}: {one_line(error)}") from error
    return found


def _measured(task: str, samples: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[ItemScores]:
    """The numbers of a task that are known item by item, in the order of lm_eval."""
    found: dict[str, dict[str, dict[str, Item]]] = {}
    for label, of_arm in samples.items():
        for sample in of_arm[task]:
            for name in sample["metrics"]:
                value = _number(sample[name])
                if value is not None:
                    known = "" if sample["filter"] == "none" else f",{sample['filter']}"
                    found.setdefault(f"{name}{known}", {}).setdefault(label, {})[str(sample["doc_id"])] = value
    return [ItemScores(task, metric, arms) for metric, arms in found.items() if len(arms) == len(samples)]


def _number(value: object) -> Item | None:
    """A metric of one item: a number, or a sum and its weight; None where an item has none by itself, as in BLEU."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(one, int | float) for one in value):
        return float(value[0]), float(value[1])
    return None


def _row(
    label: str,
    task: str,
    measured: Sequence[ItemScores],
    samples: Sequence[Mapping[str, Any]],
    costs: Mapping[tuple[str | None, int | None], ItemCost],
    settings: Settings,
) -> TaskRow:
    own = [cost for (name, _), cost in costs.items() if name == task]
    scores = {one.metric: estimate(one.arms[label], settings) for one in measured if one.task == task}
    items = len({sample["doc_id"] for sample in samples})

    def mean(values: Sequence[float]) -> float:
        return sum(values) / items if items else math.nan

    return TaskRow(label, task, items, scores, mean([one.flops for one in own]), mean([one.seconds for one in own]))


def _notes(
    config: TasksRun, against: str, measured: Sequence[ItemScores], found: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    notes = [
        f"differences are from {against}; accuracies are tested by McNemar's exact test, the rest by the paired "
        "bootstrap, and p is corrected for all of them (Holm)",
        f"choices and texts are weighed by {config.likelihood.value}; an item's seconds are those of its batches, "
        "shared out among their texts, and its FLOPs count its context anew for each choice",
    ]
    shown = {(one.task, one.metric.partition(",")[0]) for one in measured}
    first = next(iter(found.values()))
    lacking = [
        f"{task} {name.partition(',')[0]}"
        for task, numbers in first["results"].items()
        for name, value in numbers.items()
        if isinstance(value, float) and "_stderr" not in name and (task, name.partition(",")[0]) not in shown
    ]
    if lacking:
        notes.append(f"no values of single items, hence in tasks.json alone: {', '.join(dict.fromkeys(lacking))}")
    return notes


def _write(
    result: TasksResult,
    config: TasksRun,
    arms: Sequence[HarnessArm],
    plain_configs: Sequence[object],
    samples: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    costs: Mapping[str, Mapping[tuple[str | None, int | None], ItemCost]],
) -> None:
    folders: dict[str, str] = {}
    for number, arm in enumerate(arms, 1):
        folders[arm.label] = f"{number}-{shortened(slug(arm.label), 120)}"
        for task, items in samples[arm.label].items():
            lines = [_line(item, costs[arm.label].get((task, item["doc_id"]), ItemCost())) for item in items]
            path = result.folder / folders[arm.label] / f"samples_{slug(task)}.jsonl"
            replace_file(path, b"".join(lines))
    expert = arms[0].models.expert
    names = ("revision", "fingerprint", "dtype_name")
    facts = {"expert": expert.name, **{name.removesuffix("_name"): getattr(expert, name) for name in names}}
    page = {
        **provenance(facts, "", loaded_plugins()),
        "tasks": config.tasks,
        "likelihood": config.likelihood.value,
        "arms": [
            {"label": arm.label, "folder": folders[arm.label], "settings": one}
            for arm, one in zip(arms, plain_configs, strict=True)
        ],
        "rows": [
            {"arm": row.arm, "task": row.task, "items": row.items, "scores": dict(row.scores)}
            | {"flops_per_item": row.flops, "seconds_per_item": row.seconds}
            for row in result.rows
        ],
        "comparisons": list(result.comparisons),
        "notes": list(result.notes),
    }
    replace_file(result.folder / "tasks.json", to_page(page))
    replace_file(result.folder / "table.md", encode(markdown_tables(result)))


def _line(item: Mapping[str, Any], cost: ItemCost) -> bytes:
    """A sample as lm_eval logs it, with what it took."""
    return to_line({**_plain(item), "flops": cost.flops, "seconds": cost.seconds})


def _plain(value: Any) -> Any:
    """A sample in JSON's types; what has none is written as text, as lm_eval does."""
    match value:
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case str() | bool() | int() | float() | None:
            return value
        case _:
            return str(value)
