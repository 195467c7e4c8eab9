"""The whole experiment on one page: configuration in, run folders and a table's rows out.

    prompts -> points (arm, control, human) -> texts on disk -> scores and costs -> summaries on disk -> trackers

Cheap checks come before weights are read, texts are stored before they are scored, and results are on disk before a
tracker hears of them. Texts that are already stored are reused: the same command continues where it stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import yaml

from cdeval.cast import Cast, open_cast
from cdeval.choices import Tracker
from cdeval.config import RunConfig
from cdeval.cost.price import Arm, price_arms
from cdeval.cost.room import lanes_at_once
from cdeval.decode.batches import decode
from cdeval.decode.lanes import Continuation, Lane
from cdeval.decode.sources import Second
from cdeval.lenses.temperature import Calibration, with_temperature
from cdeval.metrics.judges import open_judges
from cdeval.metrics.suite import Scored, chosen_metrics, score_study
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel
from cdeval.points import Point, Role, amateur_of, plan_points, prompts_digest
from cdeval.prompts import PromptSet
from cdeval.provenance import provenance
from cdeval.records import Amateur, Comparison, Generation, Prompt
from cdeval.reporting.differences import differences_markdown
from cdeval.reporting.progress import decoding_progress
from cdeval.reporting.summary import exit_notes, notes_of, sample_notes, summary_of
from cdeval.reporting.table import Row, markdown_table
from cdeval.store import Key, RunFolder, replace_file
from cdeval.strictjson import to_page
from cdeval.tracking import Point as TrackedPoint
from cdeval.tracking import track_point

Texts = dict[Point, list[Generation]]  # in the order of the prompts, the samples of each together


class Wanted(NamedTuple):
    """One text to be decoded."""

    point: Point
    prompt: Prompt
    sample: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command shows."""

    rows: list[Row]
    comparisons: list[Comparison]  # of the arm with the expert alone
    notes: list[str]  # what a reader of the table must know
    folder: Path


def run_study(config: RunConfig, plain_config: Mapping[str, object], say: Callable[[str], None]) -> Outcome:
    """Decode, score and price one setting beside its controls.

    Args:
        config: checked settings.
        plain_config: the same as plain values, for the run folders.
        say: takes one line of progress at a time.

    Raises: CdevalError: a user's mistake or a missing prerequisite; whatever was generated before it stays on disk.
    """
    chosen_metrics(config.metrics)  # a misspelt name costs no weights
    opened = open_cast(config)
    prompts = opened.prompts()
    say(prompts.describe())
    cast = opened.load(prompts)
    expert = cast.expert
    config = _with_room(opened.config, expert, prompts)
    config, fitted = with_temperature(config, expert, cast.seconds, [prompt.id for prompt in prompts.prompts], say)
    say(f"expert {expert.name}: {expert.parts.depth} blocks, {expert.dtype_name} on {expert.device}")
    points = plan_points(config, cast.identity, prompts.prompts)
    root = Path(config.runs) / config.study
    with _open_folders(points, root) as folders:
        _write_inputs(folders, plain_config, _facts(config, cast, fitted), prompts.prompts)
        texts = _texts(cast, config, prompts.prompts, folders, say)
        say("scoring")
        scored = _scored(expert, config, texts, root)
        scores = scored.scores
        costs = _costs(cast, config, texts, say)
        summaries = {point: summary_of(len(texts[point]), scores[point.label], costs[point]) for point in points}
        for point, folder in folders.items():
            folder.write_json("metrics.json", scores[point.label])
            folder.write_json("divergence.json", scored.curves.get(point.label, []))
            folder.write_json("costs.json", costs[point])
            folder.finish(summaries[point])
    made = [prompts.describe(), *_seen_by_lens(cast.seconds, prompts), *sample_notes(config.search.samples)]
    made += exit_notes({point.label: costs[point] for point in points})
    notes = [*made, *notes_of(scores), *_tracked(config, plain_config, root, texts, summaries)]
    rows = [Row(point.label, point.role.value, summaries[point]) for point in points]
    replace_file(root / "comparisons.json", to_page(scored.comparisons))
    tables = [markdown_table(rows, notes), differences_markdown(scored.comparisons)]
    replace_file(root / "table.md", "\n".join(filter(None, tables)).encode())
    return Outcome(rows, scored.comparisons, notes, root)


def _seen_by_lens(seconds: Mapping[Amateur, Second], prompts: PromptSet) -> list[str]:
    """A warning where prompts begin texts that a lens was trained on."""
    ids = {prompt.id for prompt in prompts.prompts}
    counts = [len(ids & lens.trained_on) for lens in seconds.values() if isinstance(lens, TunedLens)]
    line = "the lens was trained on the texts of {} of these prompts: expect less of it elsewhere"
    return [line.format(count) for count in counts if count]


def _with_room(config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> RunConfig:
    """The configuration with a number for `execution.max_lanes`."""
    longest = max(len(prompt.token_ids) for prompt in prompts.prompts) + config.search.max_new_tokens
    rows = amateur_of(config.amateur).head_rows + (config.search.adaptive_exit.threshold is not None)
    lanes = lanes_at_once(config.execution, expert, config.search.beams, longest, rows)
    return replace(config, execution=replace(config.execution, max_lanes=lanes))


@contextmanager
def _open_folders(points: Sequence[Point], root: Path) -> Iterator[dict[Point, RunFolder]]:
    with ExitStack() as stack:
        yield {point: stack.enter_context(RunFolder(root / point.folder)) for point in points}


def _facts(config: RunConfig, cast: Cast, fitted: Calibration | None) -> dict[str, object]:
    """What the texts are made by."""
    expert = cast.expert
    lens = next((second for second in cast.seconds.values() if isinstance(second, TunedLens)), None)
    return {
        "expert": expert.name,
        "revision": expert.revision,
        "fingerprint": expert.fingerprint,
        "architecture": expert.model.config.model_type,
        "dtype": expert.dtype_name,
        "device": str(expert.device),
        "max_lanes": config.execution.max_lanes,
        "lens": {"digest": lens.digest, **lens.facts} if lens else None,
        "temperature": fitted,
    }


def _write_inputs(
    folders: Mapping[Point, RunFolder],
    plain_config: Mapping[str, object],
    facts: Mapping[str, object],
    prompts: Sequence[Prompt],
) -> None:
    """What was asked for and what it ran on, before the first token."""
    record = provenance(facts, prompts_digest(prompts))
    for point, folder in folders.items():
        settings = {**plain_config, "point": point.facts()}
        folder.write_text("config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
        if not folder.generations():  # what made the texts stays on record when they are only scored again
            folder.write_json("provenance.json", {**record, "point": point.facts()})


def _texts(
    cast: Cast,
    config: RunConfig,
    prompts: Sequence[Prompt],
    folders: Mapping[Point, RunFolder],
    say: Callable[[str], None],
) -> Texts:
    """Every point's texts; those that are stored already are not decoded again."""
    stored = {point: folder.generations() for point, folder in folders.items()}
    for point, folder in folders.items():
        if point.role is Role.human:
            held = stored[point]
            missing = [prompt for prompt in prompts if prompt.reference is not None and (prompt.id, 0) not in held]
            folder.append(_human(prompt) for prompt in missing)
    # Prompt-major order: the settings of one prompt share its prefill, and finished prompts are complete in all points.
    wanted = [
        Wanted(point, prompt, sample)
        for prompt in prompts
        for point in folders
        for sample in range(_samples(point))
        if point.setting is not None and (prompt.id, sample) not in stored[point]
    ]
    reused = sum(len(found) for point, found in stored.items() if point.setting is not None)
    if reused:
        say(f"{reused} continuations are already stored and are reused")
    _decode_and_store(cast, config, wanted, folders, say)
    found = {point: folder.generations() for point, folder in folders.items()}
    return {point: _in_order(found[point], prompts, _samples(point)) for point in folders}


def _samples(point: Point) -> int:
    """Texts a prompt."""
    return 1 if point.setting is None else point.setting.sampling.samples


def _in_order(found: Mapping[Key, Generation], prompts: Sequence[Prompt], samples: int) -> list[Generation]:
    keys = [(prompt.id, sample) for prompt in prompts for sample in range(samples)]
    return [found[key] for key in keys if key in found]


def _decode_and_store(
    cast: Cast,
    config: RunConfig,
    wanted: Sequence[Wanted],
    folders: Mapping[Point, RunFolder],
    say: Callable[[str], None],
) -> None:
    """Decode what is wanted; each batch is on disk before the next one starts."""
    if not wanted:
        return
    lanes = [
        Lane(one.prompt.token_ids, one.point.setting, one.prompt.id, one.sample)
        for one in wanted
        if one.point.setting is not None
    ]
    total = sum(lane.setting.max_new_tokens for lane in lanes)
    with decoding_progress(total, f"decoding {len(lanes)} continuations", enabled=True) as advance:
        execution = config.execution
        for batch in decode(
            cast.expert,
            lanes,
            seconds=cast.seconds,
            max_lanes=int(execution.max_lanes),
            compact_every=execution.compact_every,
            on_step=advance,
            say=say,
        ):
            for point, folder in folders.items():
                mine = [
                    _generation(wanted[i], answer, cast.expert)
                    for i, answer in zip(batch.lanes, batch.continuations, strict=True)
                    if wanted[i].point is point
                ]
                if mine:
                    folder.append(mine)


def _generation(wanted: Wanted, answer: Continuation, expert: LanguageModel) -> Generation:
    prompt = wanted.prompt
    return Generation(
        id=prompt.id,
        prompt=prompt.text,
        prompt_token_ids=prompt.token_ids,
        reference=prompt.reference,
        continuation=expert.tokenizer.decode(answer.token_ids, skip_special_tokens=True),
        token_ids=answer.token_ids,
        logprob_expert=answer.logprob_expert,
        score=answer.score,
        sample=wanted.sample,
        exit_layers=answer.exit_layers,
    )


def _human(prompt: Prompt) -> Generation:
    return Generation(
        id=prompt.id,
        prompt=prompt.text,
        prompt_token_ids=prompt.token_ids,
        reference=prompt.reference,
        continuation=prompt.reference or "",
        token_ids=prompt.reference_token_ids or (),
        logprob_expert=None,
        score=None,
    )


def _scored(expert: LanguageModel, config: RunConfig, texts: Texts, root: Path) -> Scored:
    human = next((found for point, found in texts.items() if point.role is Role.human), None)
    control = next((point.label for point in texts if point.role is Role.control), None)
    judges = open_judges(chosen_metrics(config.metrics), config.metrics, expert, root, wrote=True)
    arms = {point.label: found for point, found in texts.items()}
    return score_study(arms, human, judges, config.metrics, config.seed, config.protocol, against=control)


def _costs(cast: Cast, config: RunConfig, texts: Texts, say: Callable[[str], None]) -> dict[Point, dict[str, float]]:
    arms = {point: Arm(point.setting, found) for point, found in texts.items() if point.setting is not None and found}
    repeats = config.cost.latency_repeats
    if repeats:
        say(f"timing {len(arms)} arms in turn, {repeats} passes each after a warm-up")
    labelled = {point.label: arm for point, arm in arms.items()}
    priced = price_arms(cast.expert, labelled, repeats, config.execution.compact_every, cast.seconds)
    return {point: priced.get(point.label, {}) for point in texts}


def _tracked(
    config: RunConfig,
    plain_config: Mapping[str, object],
    root: Path,
    texts: Texts,
    summaries: Mapping[Point, Mapping[str, float]],
) -> list[str]:
    """Tell the tracker; returns what went wrong there, a line a point."""
    if config.tracking.kind is Tracker.none:
        return []
    problems = (
        track_point(
            config.tracking,
            TrackedPoint(
                config.study,
                point.label,
                root / point.folder,
                {**plain_config, "point": point.facts()},
                summaries[point],
                texts[point],
            ),
        )
        for point in texts
    )
    return [problem for problem in problems if problem is not None]
