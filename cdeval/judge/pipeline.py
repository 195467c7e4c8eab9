"""The command on one page: pairs in, preferences and agreement with people out.

    pairs of people, texts of arms -> the judge, both orders, each answer kept -> preferences -> agreement -> files

Files are read before a model is opened.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from cdeval.config.metrics import IN_TOKENS, needs_of
from cdeval.config.plugins import loaded_plugins
from cdeval.config.schema import ExpertConfig
from cdeval.errors import ConfigError, did_you_mean
from cdeval.judge.agreement import Agreement, agreement, one_arm, one_person
from cdeval.judge.asking import AskedPair, Judgement, PairJudge, judge_all
from cdeval.judge.by_metric import metrics_of_texts, preferences_of
from cdeval.judge.config import JudgeKind, JudgeRun
from cdeval.judge.language_model import LanguageModelJudge
from cdeval.judge.rated import RatedPair
from cdeval.judge.results import JudgedArm, JudgedPair, JudgeHabits, JudgeResult
from cdeval.judge.reward_model import RewardModelJudge
from cdeval.judge.server import ServerJudge
from cdeval.judge.tables import calibration_line, habits_line, judge_markdown
from cdeval.metrics.compare import Settings, with_holm
from cdeval.metrics.features import FeatureCache
from cdeval.metrics.judges.opening import open_judges
from cdeval.metrics.rows import mean_rows
from cdeval.models.loading import ReadingModel, open_model
from cdeval.records import Comparison, Estimate
from cdeval.score.arms import Collection
from cdeval.score.raters.pairs import Sheet, draw_pairs
from cdeval.store.files import require_writable
from cdeval.store.folder import replace_file
from cdeval.store.progress import Steps
from cdeval.store.provenance import provenance
from cdeval.store.strict_json import encode, to_line, to_page

PEOPLE = "people"  # whose pairs a judgement is of


class GivenTexts(NamedTuple):
    """What the command reads before any model is opened."""

    rated: Sequence[RatedPair]  # that people have judged; empty: none are given
    collection: Collection | None  # arms whose texts are judged


def run_judge(
    config: JudgeRun, plain_config: Mapping[str, object], given: GivenTexts, say: Callable[[str], None]
) -> JudgeResult:
    """Judge pairs, compare judge and metrics with people, and write what was found.

    Args:
        config: checked settings.
        plain_config: the same as plain values, for the record.
        given: the texts.
        say: takes one line of progress at a time.

    Raises: CdevalError: a model cannot be opened, or does not answer; what was judged is kept.
    """
    folder = Path(config.runs) / config.study
    require_writable(folder / "judge.json")
    sheets = _sheets(config, given.collection)
    reader = _reader(config, given, say)
    judge = _judge_of(config, reader)
    judged: list[JudgedPair] = []
    arms: list[JudgedArm] = []
    if judge is not None:
        judged, arms = _judged(judge, config, given, sheets, FeatureCache(folder / ".features", say), say)
    result = _result(config, given, judge, judged, arms, folder)
    result = _with_metrics(result, config, given, reader, say)
    _write(result, config, plain_config, reader)
    return result


def _judged(
    judge: PairJudge,
    config: JudgeRun,
    given: GivenTexts,
    sheets: Sequence[Sheet],
    cache: FeatureCache,
    say: Callable[[str], None],
) -> tuple[list[JudgedPair], list[JudgedArm]]:
    """Judge the pairs of people, and then those of arms."""
    asked = [AskedPair(pair.id, pair.prompt, *pair.texts) for pair in given.rated]
    found = judge_all(judge, asked, cache, say) if asked else []
    judged = [
        JudgedPair(PEOPLE, pair, judgement, rated.votes)
        for pair, judgement, rated in zip(asked, found, given.rated, strict=True)
    ]
    arms = []
    for sheet in sheets:
        asked = _asked(sheet)
        found = judge_all(judge, asked, cache, say)
        judged += [JudgedPair(" and ".join(sheet.arms), *one, ()) for one in zip(asked, found, strict=True)]
        arms.append(_judged_arm(sheet, found, config.judge.tie_within, _settings(config)))
    corrected = with_holm([arm.comparison for arm in arms])
    return judged, [arm._replace(comparison=one) for arm, one in zip(arms, corrected, strict=True)]


def _settings(config: JudgeRun) -> Settings:
    return Settings(config.metrics.confidence, config.metrics.bootstrap_draws, config.seed)


def _sheets(config: JudgeRun, collection: Collection | None) -> list[Sheet]:
    """The pairs of every other arm with one of them. Raises: ConfigError: there is one arm alone, or no such arm."""
    if collection is None:
        return []
    arms = {arm.label: arm.generations for arm in collection.arms}
    if collection.human and len(arms) == 1:
        arms["human"] = collection.human
    if len(arms) < 2:
        raise ConfigError(
            "generations= holds the texts of one arm, without references: give a second file to judge it against, as "
            "generations=[a.jsonl,b.jsonl]."
        )
    against = config.against or (next(iter(arms)) if len(collection.arms) > 1 else "human")
    if against not in arms:
        raise ConfigError(f"against={against}: there is no such arm. {did_you_mean(against, arms)}")
    return [
        draw_pairs((label, against), texts, arms[against], config.limit, config.seed)
        for label, texts in arms.items()
        if label != against
    ]


def _asked(sheet: Sheet) -> list[AskedPair]:
    """The pairs of a sheet, the first arm's text as a; the judge reads both orders anyway."""
    return [
        AskedPair(pair.id, pair.prompt, *((pair.left, pair.right) if pair.first_is_left else (pair.right, pair.left)))
        for pair in sheet.pairs
    ]


def _reader(config: JudgeRun, given: GivenTexts, say: Callable[[str], None]) -> ReadingModel | None:
    """The expert, where the judge or a metric reads with it."""
    judges = config.judge.by is JudgeKind.language_model and config.judge.model == "expert"
    compares = bool(given.rated) and config.calibration.metrics
    if not judges and not (compares and IN_TOKENS & needs_of(metrics_of_texts(config.metrics))):
        return None
    with Steps(say, "opening the model that reads the texts"):
        return open_model(config.expert, decodes=False).load_reader(packed=True)


def _judge_of(config: JudgeRun, reader: ReadingModel | None) -> PairJudge | None:
    judge, expert = config.judge, config.expert
    match judge.by:
        case JudgeKind.none:
            return None
        case JudgeKind.server:
            return ServerJudge(judge)
        case JudgeKind.reward_model:
            return RewardModelJudge(judge.model, expert)
        case JudgeKind.language_model:
            if judge.model != "expert" or reader is None:
                own = ExpertConfig(name=judge.model, dtype=expert.dtype, device=expert.device)
                reader = open_model(own, "judge.model", decodes=False).load_reader(packed=True)
            return LanguageModelJudge(reader, judge)


def _judged_arm(sheet: Sheet, found: Sequence[Judgement], within: float, settings: Settings) -> JudgedArm:
    """One arm against another: mean preference over prompts, and a sign test over them."""
    values = np.array([one.preference for one in found]).reshape(-1, 1)
    ids = [pair.id for pair in sheet.pairs]
    preference = mean_rows(values, ids, "mean over both orders; interval over prompts").estimate(settings)
    signs = [one.sign(within) for one in found]
    won, lost, n = signs.count(1), signs.count(-1), len(signs)
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    net = Estimate(
        2 * preference.value - 1, 2 * preference.low - 1, 2 * preference.high - 1, n, 0, "exact sign test over prompts"
    )
    compared = Comparison("preference", *sheet.arms, net, p, p, math.nan)
    return JudgedArm(*sheet.arms, preference, won / n, signs.count(0) / n, lost / n, compared)


def _result(
    config: JudgeRun,
    given: GivenTexts,
    judge: PairJudge | None,
    judged: Sequence[JudgedPair],
    arms: Sequence[JudgedArm],
    folder: Path,
) -> JudgeResult:
    """What the judge found, and how far it can be believed."""
    settings, rated = _settings(config), given.rated
    base = one_arm(rated, settings) if rated else None
    scale = [] if not rated else [*([] if base is None else [base]), one_person(rated, settings)]
    notes = list(given.collection.notes) if given.collection is not None else []
    name, calibrated, habits = "", None, None
    if judge is not None:
        name = judge.name
        own = [one.judgement for one in judged if one.of == PEOPLE]
        if own:
            signs = [float(one.sign(config.judge.tie_within)) for one in own]
            calibrated = agreement(name, signs, rated, settings)
            modes = [one.likeliest - 0.5 for one in own]
            scale.append(agreement(f"{name}, by its likeliest answers alone", modes, rated, settings))
        habits = _habits([one.judgement for one in judged], symmetric=judge.symmetric)
        notes += [calibration_line(name, calibrated, base), habits_line(name, habits)]
    if rated:
        notes.append(
            f"people: {sum(len(pair.votes) for pair in rated)} votes on {len(rated)} pairs, of which they leave "
            f"{sum(pair.majority == 0 for pair in rated)} undecided; agreement counts half where neither text is "
            "preferred, and balanced agreement is 1/2 for whoever merely tells the arms apart"
        )
    return JudgeResult(name, calibrated, scale, [], arms, habits, judged, notes, folder)


def _habits(found: Sequence[Judgement], *, symmetric: bool) -> JudgeHabits:
    n = len(found)

    def mean(values: Sequence[float]) -> float:
        return sum(values) / n if n else math.nan

    return JudgeHabits(
        pairs=n,
        firsts=math.nan if symmetric else mean([one.firsts for one in found]),
        both=math.nan if symmetric else mean([float(one.agrees) for one in found]),
        tokens=mean([one.tokens for one in found]),
        flops=mean([one.flops for one in found]),
        seconds=mean([one.seconds for one in found]),
    )


def _with_metrics(
    result: JudgeResult,
    config: JudgeRun,
    given: GivenTexts,
    reader: ReadingModel | None,
    say: Callable[[str], None],
) -> JudgeResult:
    """Compare the metrics of single texts with people, those that agree most first."""
    if not given.rated or not config.calibration.metrics:
        return result
    chosen = metrics_of_texts(config.metrics)
    judges = open_judges(needs_of(chosen), config.metrics, reader, result.folder, wrote=None, say=say)
    found, without = preferences_of(given.rated, chosen, judges, config.metrics, config.protocol, config.seed)
    agreed = [
        agreement(one.metric.label, one.preferences, given.rated, _settings(config), prefers=one.prefers)
        for one in found
    ]
    agreed.sort(key=lambda one: -abs(one.found.value - 0.5) if math.isfinite(one.found.value) else 0.0)
    notes = [*result.notes]
    if without:
        notes.append(f"metrics that say nothing of a single text, and are not compared: {', '.join(without)}")
    return result._replace(metrics=agreed, notes=notes)


def _write(
    result: JudgeResult, config: JudgeRun, plain_config: Mapping[str, object], reader: ReadingModel | None
) -> None:
    lines = [
        {
            "of": one.of,
            "id": one.pair.id,
            "prompt": one.pair.prompt,
            "a": one.pair.a,
            "b": one.pair.b,
            "votes": list(one.votes),
            **one.judgement._asdict(),
        }
        for one in result.judged
    ]
    replace_file(result.folder / "judgements.jsonl", b"".join(map(to_line, lines)))
    facts = {"judge": result.judge, "kind": config.judge.by.name, "expert": reader.name if reader else None}
    page = {
        **provenance(facts, "", loaded_plugins()),
        "settings": plain_config,
        "calibrated": _page(result.calibrated),
        "scale": [_page(one) for one in result.scale],
        "metrics": [_page(one) for one in result.metrics],
        "arms": [one._asdict() for one in result.arms],
        "habits": None if result.habits is None else result.habits._asdict(),
        "notes": list(result.notes),
    }
    replace_file(result.folder / "judge.json", to_page(page))
    replace_file(result.folder / "table.md", encode(judge_markdown(result)))


def _page(one: Agreement | None) -> dict[str, object] | None:
    return None if one is None else {**one._asdict(), "against_chance": one.against_chance}
