"""A study as one HTML file: pictures, table and texts. Texts reach the page as text nodes: none is read as HTML."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cdeval.records import Generation
from cdeval.report import sections
from cdeval.report.charts import STYLES, Chart
from cdeval.report.document import Body, document
from cdeval.report.drawing import plotly_of
from cdeval.report.measures import TOTALS, Measure, present
from cdeval.report.repeats import repeated_spans
from cdeval.report.short import short_labels
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.verdict import best_of, verdict
from cdeval.store.private import masked

MOST_TEXT_BYTES = 2_500_000  # of prompts and texts on a page, whose plotting script alone has five million
_SHOWN_FIRST = 3  # texts beside each other before a reader chooses


def to_html(study: Study, charts: Sequence[Chart], fronts: Mapping[tuple[str, str], set[str]]) -> str:
    """The page.

    Args:
        study: as its files tell it.
        charts: its pictures; quality against cost is drawn by the page's script, from the table's numbers.
        fronts: labels that nothing dominates, by the names of the cost and the quality on the axes.
    """
    drawn = [chart for chart in charts if chart.kind != "points"]
    texts = side_by_side(study)
    parts = _parts(study, drawn, texts)
    headline, *more = verdict(study)
    body = Body(
        title=f"{study.name} · cdeval",
        eyebrow=_eyebrow(study),
        headline=headline,
        more="".join(f'<p class="lead">{html.escape(line)}</p>' for line in more),
        nav="".join(f'<a href="#{name}">{html.escape(title)}</a>' for name, title, _ in parts),
        main="\n".join(
            f'<section id="{name}"><h2>{html.escape(title)}</h2>{inner}</section>' for name, title, inner in parts
        ),
    )
    return document(body, _data(study, drawn, fronts, texts), "page.js")


def _eyebrow(study: Study) -> str:
    texts = max((int(arm.summary.get("texts", 0)) for arm in study.arms), default=0)
    expert = next((arm.provenance.get("models", {}).get("expert") for arm in study.arms if arm.provenance), None)
    known = [f"cdeval study {study.name}", f"{len(study.decoded)} arms", f"{texts} texts each", expert]
    return " · ".join(str(fact) for fact in known if fact)


def _parts(study: Study, charts: Sequence[Chart], texts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Name, title and HTML of every section that has something to show."""
    groups = list(dict.fromkeys(chart.group for chart in charts if chart.group))
    found = [("quality-and-cost", "Quality and cost", _pareto(study)), ("table", "All arms", sections.results(study))]
    if compared := sections.differences(study):
        found[-1] = (*found[-1][:2], found[-1][2] + compared)
    if texts:
        found.append(("texts", "Texts side by side", _texts(study, texts)))
    for number, group in enumerate(groups):
        mine = [chart for chart in charts if chart.group == group]
        grid = f'<div class="grid">{"".join(sections.figure(chart) for chart in mine)}</div>'
        found.append((f"sweep-{number}", group, sections.group_legend(mine) + _BANDS + grid))
    alone = {chart.name: sections.figure(chart) for chart in charts if not chart.group}
    if "divergence" in alone:
        found.append(("mauve", "MAUVE", alone.pop("divergence")))
    if alone:
        found.append(("costs", "What it costs", f'<div class="grid">{"".join(alone.values())}</div>'))
    found.append(("protocol", "Protocol and provenance", sections.protocol(study)))
    return found


_BANDS = '<p class="note">Bands are intervals; a level far outside the lines is left to the table.</p>'


def _pareto(study: Study) -> str:
    measures = present(TOTALS, study.decoded)
    costs = [measure for measure in measures if measure.cost]
    if not costs or len(costs) == len(measures):
        missing = "No texts were scored" if costs else "No costs are known of these texts"
        return f'<p class="note">{missing}: there is nothing to weigh against each other.</p>'

    def select(name: str, label: str, of: Sequence[Measure]) -> str:
        options = "".join(f'<option value="{one.name}">{sections.escape(one.heading)}</option>' for one in of)
        return f'<label>{label} <select id="{name}">{options}</select></label>'

    others = [*costs, *(measure for measure in reversed(measures) if not measure.cost)]
    chosen = select("y-axis", "Up", [m for m in measures if not m.cost]) + select("x-axis", "Across", others)
    note = (
        '<p class="note">An arm on the front (outlined) has no other that is at least as good and as cheap, and better '
        "in one of the two numbers that are drawn; the table on the screen calls an arm dominated (†) by diversity, "
        "MAUVE, coherence and FLOPs together. Where intervals overlap, the order may be chance, and a number that is "
        "best near the human one (≈ human) has no front. A click shows its texts.</p>"
    )
    legend = sections.kinds_legend(study)
    return f'<div class="controls">{chosen}</div>{legend}<figure><div id="pareto"></div></figure>{note}'


def _texts(study: Study, texts: Sequence[Mapping[str, Any]]) -> str:
    whole = len({text.id for arm in study.arms for text in arm.generations})
    cut = "" if len(texts) == whole else f" Here are the first {len(texts)} of {whole} prompts."
    return (
        '<p class="note">Highlighted: words of a 4-gram that stood in the text before. All texts are in '
        f'generations.jsonl.{cut}</p><div class="controls"><label>Search <input id="search" type="search" '
        'placeholder="a word or a phrase"></label> <button type="button" id="previous">← Previous</button> '
        '<button type="button" id="next">Next →</button> <span id="which" role="status" class="note"></span></div>'
        '<details><summary>Choose arms</summary><div id="chips" class="chips"></div></details>'
        '<div id="cards" class="cards"></div>'
    )


def side_by_side(study: Study) -> list[dict[str, Any]]:
    """Prompt by prompt, the human text and every arm's with what they repeat; as many prompts as a page may hold.

    A text is [arm, sample, text, places], places in JavaScript's count of signs, which takes some for two.
    """
    prompts: dict[str, tuple[str, list[tuple[int, Generation]]]] = {}
    for place, arm in sorted(enumerate(study.arms), key=lambda pair: not pair[1].is_human):
        for text in arm.generations:
            prompts.setdefault(text.id, (text.prompt, []))[1].append((place, text))
    kept: list[dict[str, Any]] = []
    size = 0
    for name, (prompt, texts) in prompts.items():
        shown = {"id": name, "prompt": prompt, "texts": [_shown(place, text) for place, text in texts]}
        size += len(json.dumps(shown))
        if kept and size > MOST_TEXT_BYTES:
            break
        kept.append(shown)
    return kept


def _shown(place: int, text: Generation) -> list[Any]:
    shown = masked(text.continuation)  # before places in it are counted
    return [place, text.sample, shown, [_utf16(shown, at) for span in repeated_spans(shown) for at in span]]


def _utf16(text: str, place: int) -> int:
    return len(text[:place].encode("utf-16-le", "surrogatepass")) // 2


def _data(
    study: Study,
    charts: Sequence[Chart],
    fronts: Mapping[tuple[str, str], set[str]],
    texts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    short = short_labels([arm.label for arm in study.arms])
    place = {arm.label: at for at, arm in enumerate(study.arms)}
    measures = present(TOTALS, study.arms)
    return {
        "arms": [_arm(arm, short[arm.label], measures) for arm in study.arms],
        "measures": [{"name": one.name, "heading": one.heading, "cost": one.cost} for one in measures],
        "styles": STYLES,
        "fronts": {f"{x} {y}": sorted(place[label] for label in front) for (x, y), front in fronts.items()},
        "figures": {chart.name: plotly_of(chart) for chart in charts},
        "texts": list(texts),
        "first": [place[label] for label in _first(study)],
    }


def _arm(arm: Arm, short: str, measures: Sequence[Measure]) -> dict[str, Any]:
    values, shown = {}, {}
    for measure in measures:
        if math.isfinite(measure.of(arm)):
            found = arm.value(measure.name)
            ends = (found.value, found.low, found.high)
            values[measure.name] = [end / measure.scale if math.isfinite(end) else None for end in ends]
            shown[measure.name] = sections.cell(measure, arm)
    facts = {"label": arm.label, "short": short, "role": arm.role, "kind": None if arm.is_human else arm.kind}
    return {**facts, "values": values, "shown": shown}


def _first(study: Study) -> list[str]:
    """The human text, the arm that the verdict speaks of or the first, and its control."""
    found = [arm.label for arm in study.arms if arm.is_human]
    best = best_of(study)
    found += [best.arm, best.against] if best else []
    found += [arm.label for arm in study.decoded]
    return list(dict.fromkeys(found))[:_SHOWN_FIRST]
