"""Human evaluation on one page: pairs out, votes in."""

import math
from pathlib import Path

from cdeval.errors import TextsError
from cdeval.metrics.stats import FEW
from cdeval.records import Estimate
from cdeval.score.arms import HUMAN, collect
from cdeval.score.config import ScoreConfig
from cdeval.score.raters.form import to_csv, to_html
from cdeval.score.raters.pairs import draw_pairs
from cdeval.score.raters.preference import Preference, preference
from cdeval.score.raters.votes import read_ballots, read_key
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import encode, to_page


def export_pairs(config: ScoreConfig) -> list[str]:
    """Write the sheets for raters and, apart from them, the key; returns what to show.

        <folder>/raters/pairs.csv, pairs.html     to give away
        <folder>/key.json                         to keep

    Two arms are compared, or one with the references.

    Raises: TextsError: the texts cannot be read, are of more than two arms, or have no prompt in common.
    """
    collection = collect(config.generations, config.labels, config.fields)
    arms = [(arm.label, arm.generations) for arm in collection.arms]
    if len(arms) == 1 and collection.human:
        arms.append((HUMAN, collection.human))
    if len(arms) != 2:
        raise TextsError(
            f"export=pairs compares two arms, but there are {len(arms)}: give generations=[a,b], or one file with "
            "references to compare with."
        )
    labels = (arms[0][0], arms[1][0])
    sheet = draw_pairs(labels, arms[0][1], arms[1][1], config.pairs.limit, config.seed)
    folder = _folder(config)
    # A byte order mark tells spreadsheets that the file is UTF-8.
    replace_file(folder / "raters" / "pairs.csv", b"\xef\xbb\xbf" + encode(to_csv(sheet)))
    replace_file(folder / "raters" / "pairs.html", encode(to_html(sheet, config.pairs.question)))
    replace_file(folder / "key.json", to_page(sheet.key()))
    lines = [f"{len(sheet.pairs)} pairs of {labels[0]!r} and {labels[1]!r}, in random order, sides balanced"]
    if sheet.unused:
        lines.append(f"{sheet.unused} prompts are continued by one arm only and were left out")
    if sheet.same:
        lines.append(f"{sheet.same} prompts have two equal texts and were left out")
    return [
        *collection.notes,
        *lines,
        f"give to raters: {folder / 'raters'} (pairs.html, or pairs.csv for a spreadsheet)",
        f"keep: {folder / 'key.json'}",
    ]


def read_votes(config: ScoreConfig) -> list[str]:
    """Read what raters handed in, write preference.json, and return what to show.

    Raises: TextsError: key or votes cannot be read or do not fit together.
    """
    key = read_key(Path(config.key or ""))
    ballots = read_ballots([Path(path) for path in config.votes], key)
    metrics = config.metrics
    found = preference(ballots, key, metrics.confidence, metrics.bootstrap_draws, config.seed)
    folder = _folder(config)
    replace_file(folder / "preference.json", to_page({"arms": list(key.arms), **found._asdict()}))
    return [*lines_of(found, key.arms, len(key.ids), metrics.confidence), f"results: {folder / 'preference.json'}"]


def lines_of(found: Preference, arms: tuple[str, str], pairs: int, confidence: float) -> list[str]:
    """The result in words, with all that qualifies it."""
    judged = found.win.n
    one = found.raters == 1
    agreement = "one rater: no agreement to measure" if one else f"Krippendorff's alpha {found.alpha:.2f} (nominal)"
    ends = FEW if math.isnan(found.net.low) else f"{confidence:.0%} intervals by bootstrap over prompts"
    return [
        f"{arms[0]!r} against {arms[1]!r}: {found.votes} votes of {found.raters} raters on {judged} of {pairs} pairs",
        f"win {_percent(found.win)}, tie {_percent(found.tie)}, loss {_percent(found.loss)}; "
        f"net {_percent(found.net)}; {ends}",
        f"prompts won {found.prompts_won}, lost {found.prompts_lost}, drawn {found.prompts_drawn}: "
        f"exact sign test over prompts p = {found.p:.3g}",
        f"{agreement}; {found.left:.0%} of the sided votes went left",
    ]


def _percent(estimate: Estimate) -> str:
    ends = "" if math.isnan(estimate.low) else f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    return f"{100 * estimate.value:.1f} %{ends}"


def _folder(config: ScoreConfig) -> Path:
    return Path(config.out) if config.out is not None else Path(config.runs) / config.study
