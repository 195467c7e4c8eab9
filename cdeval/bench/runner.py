"""The whole bench on one page: models and prompts in, timed groups out, each on disk before the next one starts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil
import torch

from cdeval.bench.arms import BF16, F32, OURS, Arms, BenchSearch
from cdeval.bench.config import BenchConfig, BenchRun, GroupName
from cdeval.bench.ctranslate import ctranslate2_version
from cdeval.bench.goals import Goal, judge
from cdeval.bench.groups import build_groups, expert_groups, longest_text, prompts_needed
from cdeval.bench.limits import Limits
from cdeval.bench.models import Models
from cdeval.bench.page import to_html
from cdeval.bench.plan import BenchGroup, GroupResult
from cdeval.bench.profile import describe, supported, where_time_goes
from cdeval.bench.results import numbers, to_png
from cdeval.bench.shapes import FIRST, open_shapes, shape_groups
from cdeval.bench.timer import Timer
from cdeval.config.amateur import amateur_of
from cdeval.config.enums import Weights
from cdeval.config.exits import check_depth
from cdeval.config.plugins import loaded_plugins
from cdeval.config.points import prompts_digest
from cdeval.decode.clock import now
from cdeval.errors import PromptError
from cdeval.models.anatomy import check_length
from cdeval.models.hardware import choose_device, choose_dtype
from cdeval.models.loading import OpenedModel, open_model
from cdeval.models.shapes import random_prompts
from cdeval.prompts.load import load_prompts
from cdeval.records import Prompt
from cdeval.store.folder import RunFolder, replace_file
from cdeval.store.provenance import provenance
from cdeval.store.strict_json import encode

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
    device = choose_device(config.expert.device)
    expert = _open_expert(config) if expert_groups(config.bench) else None
    with RunFolder(Path(config.runs) / "bench") as folder, TemporaryDirectory() as scratch:
        for line in (*_busy(), "loading the models, measuring the machine's limits, trying every arm"):
            say(line)
        limits = Limits.of_machine(device, [choose_dtype(dtype, device) for dtype in (BF16, F32)])
        arms = None if expert is None else expert.arms(config, limits, Path(scratch))
        groups = _groups(config, arms, limits, Path(scratch))
        skipped = [] if arms is None else arms.models.skipped
        timer = Timer(partial(now, device), say, skipped, config.bench.minutes)
        seconds = timer.estimates(groups)
        facts, digest = _facts(config, device, arms), "" if expert is None else prompts_digest(expert.prompts)
        record = provenance(facts, digest, loaded_plugins())
        machine = _machine(record, config, device)
        for line in (machine, *skipped, _plan(seconds)):
            say(line)
        page = {"provenance": record, "settings": plain_config, "limits": limits, "skipped": skipped}
        files = _Files(folder, page, config.bench, config.prompts.prompt_tokens if expert is None else expert.tokens)
        results: dict[str, GroupResult] = {}
        for group in groups:
            result = timer.time(group, seconds)
            if result is not None:
                results[group.name] = result
                files.write_numbers(results)
                show(result)
        shares = _profiled(config, arms)
        files.write_numbers(results, profile=shares)
        goals = [] if arms is None else files.goals(results)  # they are stated for the expert's groups
        notes = [machine, *skipped, *limits.lines(results.values(), OURS)]
        notes += [*([describe(shares)] if shares else []), *_conditions(config, arms)]
        if results:
            files.write_page(results, goals, notes)
    return Report(goals, notes, folder.path)


class _Files(NamedTuple):
    """The files of a bench."""

    folder: RunFolder
    page: Mapping[str, object]  # what stands in bench.json beside the numbers
    bench: BenchConfig
    prompt_tokens: int

    def goals(self, results: Mapping[str, GroupResult]) -> list[Goal]:
        """Judge what was measured so far."""
        return judge(results, self.bench, self.prompt_tokens)

    def write_numbers(self, results: Mapping[str, GroupResult], **more: object) -> None:
        """Write every sample so far to bench.json."""
        self.folder.write_json("bench.json", {**self.page, **more, **numbers(results, self.goals(results))})

    def write_page(self, results: Mapping[str, GroupResult], goals: Sequence[Goal], notes: Sequence[str]) -> None:
        """Write the picture and the page."""
        drawn = to_png(list(results.values()), notes[0])
        replace_file(self.folder.path / "bench.png", drawn)
        record = self.page["provenance"]
        assert isinstance(record, Mapping)  # noqa: S101 - a type narrowing, not a check of the input
        replace_file(self.folder.path / "bench.html", encode(to_html(results, goals, notes, record, drawn)))


class _Expert(NamedTuple):
    """The expert whose groups are timed, and its prompts."""

    opened: OpenedModel
    prompts: tuple[Prompt, ...]  # of equal length

    @property
    def tokens(self) -> int:
        """The length of the prompts."""
        return len(self.prompts[0].token_ids)

    def arms(self, config: BenchRun, limits: Limits, scratch: Path) -> Arms:
        """Make its arms; weights are loaded when one needs them."""
        (layer,) = amateur_of(config.amateur).exits
        models = Models(self.opened, layer, scratch)
        return Arms(config, models, [prompt.token_ids for prompt in self.prompts], limits)


def _open_expert(config: BenchRun) -> _Expert:
    opened = open_model(config.expert)
    (layer,) = amateur_of(config.amateur).exits
    check_depth(opened.config.num_hidden_layers, layer, opened.name)
    return _Expert(opened, _prompts(config, opened))


def _groups(config: BenchRun, arms: Arms | None, limits: Limits, scratch: Path) -> list[BenchGroup]:
    """The expert's groups, and then those of the shapes."""
    found = [] if arms is None else build_groups(arms)
    if GroupName.shapes in config.bench.groups:
        found += shape_groups(open_shapes(config, limits, scratch), config.bench)
    return found


def _profiled(config: BenchRun, arms: Arms | None) -> dict[str, float]:
    """Profile the engine's contrastive beam search of one prompt, where group `single` has timed it."""
    if arms is None or GroupName.single not in config.bench.groups or not supported(arms.models.opened.device):
        return {}
    return where_time_goes(arms.ours(BenchSearch.contrast, BF16).run, min(PROFILED, config.bench.new_tokens))


def _prompts(config: BenchRun, opened: OpenedModel) -> tuple[Prompt, ...]:
    """Load as many prompts as the groups need, of equal length, so that no peer has to pad."""
    needed = prompts_needed(config.bench)
    if opened.weights is Weights.random:
        tokens = config.prompts.prompt_tokens
        check_length(opened.config, tokens, longest_text(config.bench), opened.name)
        return random_prompts(opened.config, opened.tokenizer, needed, tokens, config.seed)
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


def _facts(config: BenchRun, device: torch.device, arms: Arms | None) -> dict[str, object]:
    """Record the models that were decoded with."""
    shapes = {"shapes": config.bench.pairs} if GroupName.shapes in config.bench.groups else {}
    if arms is None:
        return {**shapes, "weights": "random", "device": str(device)}
    opened = arms.models.opened
    return {
        "expert": opened.name,
        "revision": opened.revision,
        "fingerprint": arms.models.expert(F32).fingerprint,
        "architecture": opened.config.model_type,
        "device": str(device),
        "ctranslate2": ctranslate2_version(),
        **shapes,
    }


def _machine(record: Mapping[str, object], config: BenchRun, device: torch.device) -> str:
    machine, libraries = record["machine"], record["libraries"]
    assert isinstance(machine, dict)  # noqa: S101 - a type narrowing, not a check of the input
    assert isinstance(libraries, dict)  # noqa: S101 - likewise
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else machine["cpu"]
    what = config.expert.name if expert_groups(config.bench) else f"{', '.join(config.bench.pairs)} (random weights)"
    return (
        f"{what} on {place}, {torch.get_num_threads()} threads of {machine['cores_usable']} cores, "
        f"torch {libraries['torch']}, transformers {libraries['transformers']}"
    )


def _busy() -> list[str]:
    """Another program's work would be in every number; better to say so before than to wonder afterwards."""
    load = psutil.getloadavg()[0]
    return [f"this machine is busy (load {load:.1f} before the bench began): expect spread"] if load > 0.5 else []


def _plan(seconds: Mapping[str, float]) -> str:
    parts = ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    return f"estimated time {sum(seconds.values()) / 60:.1f} min ({parts})"


def _conditions(config: BenchRun, arms: Arms | None) -> list[str]:
    """List the conditions that a reader must know to compare these numbers with others."""
    bench, found = config.bench, []
    if arms is not None:
        helped = "spared a slow path of torch in its prefill (bench.help_peers)" if bench.help_peers else "as it is"
        found += [
            f"Hugging Face is timed {helped}; its contrast is a LogitsProcessor with a separate amateur and its own "
            "cache",
            f"goals are stated for 32 + 128 tokens, 5 beams, 2 threads, embedded model; this was {config.expert.name}, "
            f"{config.prompts.prompt_tokens} + {bench.new_tokens} tokens, {bench.beams} beams, "
            f"{torch.get_num_threads()} threads",
        ]
    if GroupName.shapes in bench.groups:
        found.append(
            f"shapes: random weights in bfloat16, {config.prompts.prompt_tokens} + {bench.new_tokens} tokens; Hugging "
            "Face is timed as it is, its contrast with a small model is a LogitsProcessor; a small model that is not "
            f"named is the first {FIRST:.0%} of the expert's blocks; beams of random weights hardly share a past, so "
            "caches are longer than in use"
        )
    return found
