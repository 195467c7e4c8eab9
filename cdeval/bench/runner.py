"""The whole bench on one page: models and prompts in, timed groups out, each on disk before the next one starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch

from cdeval.bench.arms import BF16, F32, OURS, Arms, BenchSearch
from cdeval.bench.config import BenchRun, GroupName
from cdeval.bench.ctranslate import ctranslate2_version
from cdeval.bench.goals import Goal, judge
from cdeval.bench.groups import build_groups, longest_text, prompts_needed
from cdeval.bench.limits import Limits
from cdeval.bench.models import Models
from cdeval.bench.plan import GroupResult, estimate, measure
from cdeval.bench.profile import describe, supported, where_time_goes
from cdeval.bench.results import numbers, to_png
from cdeval.config.amateur import amateur_of
from cdeval.config.exits import check_depth
from cdeval.config.plugins import loaded_plugins
from cdeval.config.points import prompts_digest
from cdeval.decode.clock import now
from cdeval.errors import PromptError
from cdeval.models.anatomy import check_length
from cdeval.models.hardware import choose_dtype
from cdeval.models.loading import OpenedModel, open_model
from cdeval.prompts.load import load_prompts
from cdeval.records import Prompt
from cdeval.store.folder import RunFolder, replace_file
from cdeval.store.provenance import provenance

PROFILED = 16  # tokens of the profiled pass: torch takes seconds to count a thousand operators a step


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a bench."""

    goals: list[Goal]
    notes: list[str]  # the machine, what was left out, how near the limit is
    folder: Path


def run_bench(
    config: BenchRun,
    plain_config: Mapping[str, object],
    say: Callable[[str], None],
    show: Callable[[GroupResult], None],
) -> Report:
    """Time the configured groups.

    Args:
        config: checked settings.
        plain_config: the same as plain values, for the file.
        say: takes one line of progress at a time.
        show: takes each group as soon as it is timed and on disk.

    Raises: CdevalError: a user's mistake or a missing prerequisite; groups that were timed before it are on disk.
    """
    for line in _busy():
        say(line)
    opened = open_model(config.expert)
    (layer,) = amateur_of(config.amateur).exits
    check_depth(opened.config.num_hidden_layers, layer, opened.name)
    prompts = _prompts(config, opened)
    prompt_tokens = len(prompts[0].token_ids)
    with RunFolder(Path(config.runs) / "bench") as folder, TemporaryDirectory() as scratch:
        say("loading the models, measuring the machine's limits, trying every arm")
        models = Models(opened, layer, Path(scratch))
        limits = Limits.of_machine(opened.device, [choose_dtype(dtype, opened.device) for dtype in (BF16, F32)])
        arms = Arms(config, models, [prompt.token_ids for prompt in prompts], limits)
        groups = build_groups(arms)
        clock = partial(now, opened.device)
        seconds = {group.name: estimate(group, clock) for group in groups}
        record = provenance(_facts(models), prompts_digest(prompts), loaded_plugins())
        machine = _machine(record, opened)
        for line in (machine, *models.skipped, _plan(seconds)):
            say(line)
        page = {"provenance": record, "settings": plain_config, "limits": limits, "skipped": models.skipped}
        results: dict[str, GroupResult] = {}
        for group in groups:
            results[group.name] = measure(group, clock, say)
            folder.write_json("bench.json", {**page, **numbers(results, judge(results, config.bench, prompt_tokens))})
            show(results[group.name])
        shares = _profiled(config, arms) if GroupName.single in config.bench.groups else {}
        folder.write_json(
            "bench.json",
            {**page, "profile": shares, **numbers(results, judge(results, config.bench, prompt_tokens))},
        )
        replace_file(folder.path / "bench.png", to_png(list(results.values()), machine))
    profiled = [describe(shares)] if shares else []
    notes = [machine, *models.skipped, *limits.lines(results.values(), OURS), *profiled, *_conditions(config)]
    return Report(judge(results, config.bench, prompt_tokens), notes, folder.path)


def _profiled(config: BenchRun, arms: Arms) -> dict[str, float]:
    """Profile the engine's contrastive beam search of one prompt."""
    if not supported(arms.models.opened.device):
        return {}
    return where_time_goes(arms.ours(BenchSearch.contrast, BF16).run, min(PROFILED, config.bench.new_tokens))


def _prompts(config: BenchRun, opened: OpenedModel) -> tuple[Prompt, ...]:
    """Load as many prompts as the groups need, of equal length, so that no peer has to pad."""
    needed = prompts_needed(config.bench)
    found = load_prompts(replace(config.prompts, limit=needed), opened.tokenizer, 1, config.seed).prompts
    lengths = sorted({len(prompt.token_ids) for prompt in found})
    if len(found) < needed or len(lengths) != 1:
        raise PromptError(
            f"the bench needs {needed} prompts of one length, and prompts={config.prompts.source.name} "
            f"has {len(found)} of {lengths} tokens: use prompts=news, or fewer prompts (bench.batch_sizes, "
            "bench.sweep_prompts, bench.growth_prompts, bench.precision_prompts)."
        )
    check_length(opened.config, lengths[0], longest_text(config.bench), opened.name)
    return found


def _facts(models: Models) -> dict[str, object]:
    """Record the models that were decoded with."""
    return {
        "expert": models.opened.name,
        "revision": models.opened.revision,
        "fingerprint": models.expert(F32).fingerprint,
        "architecture": models.opened.config.model_type,
        "device": str(models.opened.device),
        "ctranslate2": ctranslate2_version(),
    }


def _machine(record: Mapping[str, object], opened: OpenedModel) -> str:
    machine, libraries = record["machine"], record["libraries"]
    assert isinstance(machine, dict)  # noqa: S101 - a type narrowing, not a check of the input
    assert isinstance(libraries, dict)  # noqa: S101 - likewise
    place = torch.cuda.get_device_name(opened.device) if opened.device.type == "cuda" else machine["cpu"]
    return (
        f"{opened.name} on {place}, {torch.get_num_threads()} threads of {machine['cores_usable']} cores, "
        f"torch {libraries['torch']}, transformers {libraries['transformers']}"
    )


def _busy() -> list[str]:
    """Another program's work would be in every number; better to say so before than to wonder afterwards."""
    load = psutil.getloadavg()[0]
    return [f"this machine is busy (load {load:.1f} before the bench began): expect spread"] if load > 0.5 else []


def _plan(seconds: Mapping[str, float]) -> str:
    parts = ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    return f"estimated time {sum(seconds.values()) / 60:.1f} min ({parts})"


def _conditions(config: BenchRun) -> list[str]:
    """List the conditions that a reader must know to compare these numbers with others."""
    bench = config.bench
    helped = "spared a slow path of torch in its prefill (bench.help_peers)" if bench.help_peers else "as it is"
    return [
        f"Hugging Face is timed {helped}; its contrast is a LogitsProcessor with a separate amateur and its own cache",
        f"goals are stated for 32 + 128 tokens, 5 beams, 2 threads, embedded model; this was {config.expert.name}, "
        f"{config.prompts.prompt_tokens} + {bench.new_tokens} tokens, {bench.beams} beams, "
        f"{torch.get_num_threads()} threads",
    ]
