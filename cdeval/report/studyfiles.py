"""A study as its files tell it: what tables, pages and pictures are made of, without a model and without torch.

`shown.json` says which run folders stood on the screen last, in which order, and what stood below them; where it is
missing, every finished run folder is an arm. Files that an older or a smaller study lacks are empty here, not errors.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cdeval.errors import StorageError
from cdeval.metrics.registry import Metric, main_metrics
from cdeval.records import Comparison, Estimate, Generation
from cdeval.report.differences import corrected_for
from cdeval.report.former import MARK, NOTHING, Former, former_line, former_scores
from cdeval.report.reading import (
    Table,
    below_nothing,
    comparisons_of,
    curve_of,
    optional,
    provenance_of,
    required,
    scores_of,
    seconds_of,
    settings_of,
    strange_metrics,
    table_of,
)
from cdeval.report.summary import notes_of, tried_notes
from cdeval.report.table import Row
from cdeval.store.folder import SUMMARY, RunFolder, replace_file
from cdeval.store.strict_json import to_page

SHOWN = "shown.json"
COMPARISONS = "comparisons.json"
REPORT = "report.html"
HUMAN = "human"
TRIED = "settings_tried"  # in an arm's summary: on the tuning split, before it was chosen


class Kind:
    """The writer of an arm, which gives it its colour and sign in every picture."""

    exit = "early exit as amateur"
    amateur = "another amateur"
    own_exits = "exits of the expert itself"
    alone = "expert alone"


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of a study; what its folder lacks is empty."""

    label: str
    role: str  # arm, control or human
    folder: str  # name of its run folder
    path: Path  # of its run folder
    setting: Mapping[str, Any]  # what shaped its texts; empty for the human reference and for texts of others
    config: Mapping[str, Any]  # config.yaml
    provenance: Mapping[str, Any]
    summary: Mapping[str, float]  # NaN: no value
    scores: Mapping[str, Estimate]
    curve: Sequence[tuple[float, float]]  # MAUVE's divergence curve
    generations: Sequence[Generation]
    token_seconds: Sequence[float]  # of timed passes, a number a token
    former: Former = NOTHING  # what of its scores is of other texts than `generations`
    stored: Sequence[Metric] = ()  # of plug-ins that are not loaded, as its files describe them
    study: str = ""  # its study's name, where several are shown together

    @property
    def is_human(self) -> bool:
        """Whether the arm is the human references."""
        return self.role == HUMAN

    @property
    def kind(self) -> str:
        """The arm's kind, by its setting; texts of others count as the expert alone."""
        if self.setting.get("adaptive_exit"):
            return Kind.own_exits
        amateur = (self.setting.get("amateur") or {}).get("kind", "none")
        return {"none": Kind.alone, "early_exit": Kind.exit}.get(amateur, Kind.amateur)

    @property
    def current(self) -> "Arm":
        """The arm without the scores that are of former texts."""
        if not self.former.metrics:
            return self
        former = {f"{name}{end}" for name in self.former.metrics for end in ("", "_low", "_high")}
        return replace(
            self,
            summary={name: value for name, value in self.summary.items() if name not in former},
            scores={name: score for name, score in self.scores.items() if name not in former},
            curve=[] if any(metric.curve and metric.name in former for metric in main_metrics()) else self.curve,
        )

    def value(self, name: str) -> Estimate:
        """A score with its interval, or a number of the summary without one; NaN where there is neither."""
        if name in self.scores:
            return self.scores[name]
        value, low, high = (self.summary.get(f"{name}{end}", math.nan) for end in ("", "_low", "_high"))
        return Estimate(value, low, high, n=0, missing=0)


@dataclass(frozen=True, slots=True)
class Study:
    """Arms in the order of the table."""

    name: str
    folder: Path
    arms: Sequence[Arm]
    comparisons: Sequence[Comparison]
    notes: Sequence[str]
    families: Mapping[str, int] = field(default_factory=dict)  # comparisons that Holm's correction counted, by study

    @property
    def decoded(self) -> list[Arm]:
        """The arms but for the human references."""
        return [arm for arm in self.arms if not arm.is_human]

    @property
    def human(self) -> Arm | None:
        """The references, where the study has some."""
        return next((arm for arm in self.arms if arm.is_human), None)

    @property
    def stored(self) -> list[Metric]:
        """Metrics of plug-ins that are not loaded, as the files describe them."""
        return [metric for arm in self.arms for metric in arm.stored]

    @property
    def rows(self) -> list[Row]:
        """The arms as rows of the tables."""
        marks = [f" {MARK}" if arm.former.metrics else "" for arm in self.arms]
        return [
            Row(arm.label, arm.role, arm.summary, arm.folder, mark, arm.stored)
            for arm, mark in zip(self.arms, marks, strict=True)
        ]

    @property
    def current(self) -> "Study":
        """The study without the scores that are of former texts: what pictures show and what may be called best."""
        return replace(self, arms=[arm.current for arm in self.arms])

    @property
    def changed(self) -> list[str]:
        """A line an arm whose texts are other ones than when it was scored."""
        return [former_line(arm.label, arm.former) for arm in self.arms if arm.former.metrics]


@dataclass(frozen=True, slots=True)
class Shown:
    """The rows, notes and comparisons that the study's last table showed."""

    rows: Sequence[Row]
    notes: Sequence[str]  # below the table
    comparisons: Sequence[Comparison]
    made: Sequence[str] = ()  # those of the notes that say how texts were made, by whichever command
    digest: str = ""  # of what the comparisons were made of; empty: that is not known


def write_shown(folder: Path, shown: Shown) -> None:
    """Store what the screen shows, for readers of the study's files. Raises: StorageError: the disk refuses."""
    rows = [{"label": row.label, "role": row.role, "folder": row.folder} for row in shown.rows]
    page = {"rows": rows, "notes": shown.notes, "made": shown.made, "digest": shown.digest}
    replace_file(folder / SHOWN, to_page(page))
    replace_file(folder / COMPARISONS, to_page(shown.comparisons))


def read_shown(folder: Path) -> Shown | None:
    """Read the study's last table from its files; None where they are missing or broken: they are made anew then."""
    problems: list[str] = []
    shown = _shown(folder, problems)
    return None if problems else shown


def _shown(folder: Path, problems: list[str]) -> Shown | None:
    """Adds to `problems` what is damaged and left out."""
    table: Table | None = optional(folder / SHOWN, table_of, None, problems)
    nothing: list[Comparison] = []
    comparisons = optional(folder / COMPARISONS, comparisons_of, nothing, problems)
    if table is None:
        return Shown([], [], comparisons) if comparisons else None
    rows = [Row(row["label"], row["role"], {}, row["folder"]) for row in table.rows]
    return Shown(rows, table.notes, comparisons, table.made, table.digest)


def read_study(folder: Path) -> Study:
    """Read the finished points of a study: those of its last table in their order, then any that it lacks.

    Raises: StorageError: there is no such study, none of its runs is finished, or a file of it is broken.
    """
    if not folder.is_dir():
        raise StorageError(
            f"study={folder}: there is no such folder. Name one that a study wrote, such as runs/embedded."
        )
    problems: list[str] = []
    shown = _shown(folder, problems)
    known = [] if shown is None else [row for row in shown.rows if (folder / row.folder / SUMMARY).is_file()]
    rows = [*known, *_finished(folder, {row.folder for row in known})]
    labels = _labels(rows)
    arms = [_arm(folder / row.folder, label, row.role, problems) for label, row in zip(labels, rows, strict=True)]
    arms.sort(key=lambda arm: arm.is_human)
    if not arms:
        raise StorageError(
            f"study={folder}: no run in it is finished (a finished one has {SUMMARY}). Run it to its end."
        )
    notes = shown.notes if shown and shown.rows else notes_of({arm.label: arm.scores for arm in arms})
    former = {arm.label: arm.former.metrics for arm in arms}
    comparisons = [
        one
        for one in ([] if shown is None else shown.comparisons)
        if not any(one.metric in former.get(label, ()) for label in (one.arm, one.against))
    ]
    name = folder.resolve().name
    families = {name: 0 if shown is None else corrected_for(shown.comparisons)}
    study = Study(name, folder, arms, comparisons, [], families)
    tried = tried_notes(arm.summary.get(TRIED, math.nan) for arm in arms)
    return replace(study, notes=[*notes, *tried, *study.changed, *dict.fromkeys(problems)])


def _finished(folder: Path, known: Collection[str]) -> list[Row]:
    """Every other finished run: arms by their labels, the human reference last."""
    rows = []
    for path in sorted(file.parent for file in folder.glob(f"*/{SUMMARY}")):
        if path.name not in known:
            point = settings_of(path / "config.yaml").get("point", {})
            role = HUMAN if path.name == HUMAN else "arm"
            rows.append(Row(str(point.get("label", path.name)), str(point.get("role", role)), {}, path.name))
    return sorted(rows, key=lambda row: (row.role == HUMAN, row.label))


def _labels(rows: Sequence[Row]) -> list[str]:
    """Tell rows of one label apart by their folders: those of the last table keep theirs, which its notes name."""
    found: list[str] = []
    for row in rows:
        found.append(f"{row.label} ({row.folder})" if row.label in found else row.label)
    return found


def _arm(path: Path, label: str, role: str, problems: list[str]) -> Arm:
    folder, config, summary = RunFolder(path), settings_of(path / "config.yaml"), RunFolder(path).summary()
    wrong = below_nothing(summary) if summary else "no number"
    if wrong is not None:
        raise StorageError(f"{path / SUMMARY} is damaged ({wrong}). Run the command that made it once more.")
    nothing: dict[str, Estimate] = {}
    scores, texts = required(path / "metrics.json", scores_of, nothing), list(folder.generations().values())
    tried = config.get("tried")
    if isinstance(tried, int) and not isinstance(tried, bool) and tried > 0:
        summary = {**summary, TRIED: tried}
    former = NOTHING  # a folder of scores alone, as of texts that lie elsewhere, is held against none
    if "point" in config:
        former = former_scores(path, scores, texts, summary.get("texts", math.nan))
    return Arm(
        label,
        role,
        path.name,
        path,
        setting=config.get("point", {}).get("setting") or {},
        config=config,
        provenance=optional(path / "provenance.json", provenance_of, {}, problems),
        summary=summary,
        scores=scores,
        curve=optional(path / "divergence.json", curve_of, [], problems),
        generations=texts,
        token_seconds=optional(path / "latency.json", seconds_of, [], problems),
        former=former,
        stored=required(path / "metrics.json", strange_metrics, []),
    )
