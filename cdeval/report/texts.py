"""The texts of a study beside each other: words marked that a text says again, its scores, the way to its trace."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cdeval.config.enums import DiversityProtocol
from cdeval.config.schema import ProtocolConfig
from cdeval.metrics.registry import Metric, main_metrics
from cdeval.metrics.scorefile import Score, read_scores
from cdeval.records import Generation
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.tracing import Tracer, link
from cdeval.store.private import masked

ORDER = 4  # words, as in rep-4 and the repetition onset
MOST_BYTES = 2_500_000  # of prompts and texts on a page, whose plotting script alone has five million


def side_by_side(study: Study, tracers: Sequence[Tracer | None] = ()) -> list[dict[str, Any]]:
    """List the prompts of a study, each with the human text and every arm's; as many prompts as a page may hold.

    A text has its arm's place in the study (`arm`), the ends of all `repeated_spans` (`repeats`), counted as JavaScript
    counts, in UTF-16, where some signs count twice, its scores by metric, and the page of its trace (`trace`) or what
    the command that makes it is told of the prompt (`command`), where it can be traced.

    Args: tracers: of the arms that can be traced, in the order of the arms; without them no text has its trace.
    """
    prompts: dict[tuple[str, str], list[tuple[int, Generation]]] = {}
    for place, arm in sorted(enumerate(study.arms), key=lambda pair: not pair[1].is_human):
        for text in arm.generations:
            prompts.setdefault((text.id, text.prompt), []).append((place, text))
    scores = [text_scores(arm, main_metrics(study.stored)) for arm in study.arms]
    kept: list[dict[str, Any]] = []
    size = 0
    for (name, prompt), texts in prompts.items():
        found = []
        for place, text in texts:
            key = (name, text.sample)
            own = {metric: known[key] for metric, known in scores[place].items() if key in known}
            found.append(_shown(place, text, own) | _trace(tracers[place] if tracers else None, text, study))
        shown = {"id": name, "prompt": prompt, "texts": found}
        size += len(json.dumps(shown))
        if kept and size > MOST_BYTES:
            break
        kept.append(shown)
    return kept


def _shown(place: int, text: Generation, scores: Mapping[str, float]) -> dict[str, Any]:
    shown = masked(text.continuation)  # before places in it are counted
    repeats = [_utf16(shown, at) for span in repeated_spans(shown) for at in span]
    return {"arm": place, "sample": text.sample, "text": shown, "repeats": repeats, "scores": scores}


def _trace(tracer: Tracer | None, text: Generation, study: Study) -> dict[str, str]:
    if tracer is None or text.sample:
        return {}
    address = link(tracer.page(text.id), text.continuation, study)
    return {"trace": address} if address else {"command": tracer.arguments(text.id)}


def text_scores(arm: Arm, metrics: Sequence[Metric]) -> dict[str, dict[tuple[str, int], float]]:
    """Read the scores of an arm's single texts, by metric, and by prompt and sample; none of former texts."""
    kept = read_scores(arm.path).scores
    found = {}
    for metric in metrics:
        score = kept.get(metric.name)
        if score is not None and score.rows is not None and metric.name not in arm.former.metrics:
            found[metric.name] = _by_text(metric, score)
    return {name: known for name, known in found.items() if known}


def _by_text(metric: Metric, score: Score) -> dict[tuple[str, int], float]:
    """The scores of single texts; none where the rows are not what the metric reads, as of another release."""
    if score.rows is None or not len(score.rows.values):
        return {}
    protocol = DiversityProtocol.__members__.get(score.basis.get("protocol", ""), ProtocolConfig().diversity)
    try:
        values = metric.statistic(ProtocolConfig(diversity=protocol))(score.rows.values[:, None, :])
    except (ValueError, IndexError, TypeError):
        return {}
    samples: dict[str, int] = {}
    found = {}
    for prompt, value in zip(score.rows.ids, values.tolist(), strict=True):
        samples[prompt] = samples.get(prompt, -1) + 1
        if math.isfinite(value):
            found[prompt, samples[prompt]] = float(f"{value:.5g}")
    return found


def _utf16(text: str, place: int) -> int:
    return len(text[:place].encode("utf-16-le", "surrogatepass")) // 2


def repeated_spans(text: str) -> list[tuple[int, int]]:
    """Find the places [start, end) of a text's signs that belong to a 4-gram of words which stood in the text before.

    Overlapping ones are one span. The first occurrence is not marked: it was no repetition yet.

    >>> repeated_spans("a b c d a b c d e")
    [(8, 15)]
    """
    words = [(match.group(), match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    seen: set[tuple[str, ...]] = set()
    spans: list[tuple[int, int]] = []
    for at in range(len(words) - ORDER + 1):
        gram = tuple(word for word, _, _ in words[at : at + ORDER])
        if gram not in seen:
            seen.add(gram)
            continue
        start, end = words[at][1], words[at + ORDER - 1][2]
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans
