"""A study as its files tell it: what tables, pages and pictures are made of, without a model and without torch.

`shown.json` says which run folders stood on the screen last, in which order, and what stood below them; where it is
missing, every finished run folder is an arm. Files that an older or a smaller study lacks are empty here, not errors.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cdeval.errors import StorageError
from cdeval.records import Comparison, Estimate, Generation
from cdeval.reporting.summary import notes_of
from cdeval.reporting.table import Row
from cdeval.store import SUMMARY, RunFolder, replace_file
from cdeval.strictjson import estimate_from_json, number, to_page

SHOWN = "shown.json"
COMPARISONS = "comparisons.json"
REPORT = "report.html"
HUMAN = "human"


class Kind:
    """Who writes an arm: what gives it its colour and sign in every picture."""

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
    setting: Mapping[str, Any]  # what shaped its texts; empty for the human reference and for texts of others
    config: Mapping[str, Any]  # config.yaml
    provenance: Mapping[str, Any]
    summary: Mapping[str, float]  # NaN: no value
    scores: Mapping[str, Estimate]
    curve: Sequence[tuple[float, float]]  # MAUVE's divergence curve
    generations: Sequence[Generation]
    token_seconds: Sequence[float]  # of timed passes, a number a token

    @property
    def is_human(self) -> bool:
        """Whether these are the references."""
        return self.role == HUMAN

    @property
    def kind(self) -> str:
        """By its setting; texts of others are as the expert alone."""
        if self.setting.get("adaptive_exit"):
            return Kind.own_exits
        amateur = (self.setting.get("amateur") or {}).get("kind", "none")
        return {"none": Kind.alone, "early_exit": Kind.exit}.get(amateur, Kind.amateur)

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

    @property
    def decoded(self) -> list[Arm]:
        """All but the human references."""
        return [arm for arm in self.arms if not arm.is_human]

    @property
    def human(self) -> Arm | None:
        """The references, where the study has some."""
        return next((arm for arm in self.arms if arm.is_human), None)

    @property
    def rows(self) -> list[Row]:
        """As the tables show them."""
        return [Row(arm.label, arm.role, arm.summary, arm.folder) for arm in self.arms]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a table of the study showed last."""

    rows: Sequence[Row]
    notes: Sequence[str]  # below the table
    comparisons: Sequence[Comparison]
    made: Sequence[str] = ()  # those of the notes that say how texts were made, by whichever command
    digest: str = ""  # of what the comparisons were made of; empty: that is not known


def write_shown(folder: Path, shown: Shown) -> None:
    """What stands on the screen, for whoever reads the study from its files. Raises: StorageError: the disk refuses."""
    rows = [{"label": row.label, "role": row.role, "folder": row.folder} for row in shown.rows]
    page = {"rows": rows, "notes": shown.notes, "made": shown.made, "digest": shown.digest}
    replace_file(folder / SHOWN, to_page(page))
    replace_file(folder / COMPARISONS, to_page(shown.comparisons))


def read_shown(folder: Path) -> Shown | None:
    """What the study's files say of its last table; None where they are missing or broken: they are made anew then."""
    with suppress(StorageError):
        return _shown(folder)
    return None


def _shown(folder: Path) -> Shown | None:
    page = _json(folder / SHOWN)
    comparisons = [_comparison(found, folder) for found in _json(folder / COMPARISONS) or []]
    if page is None:
        return Shown([], [], comparisons) if comparisons else None
    try:
        rows = [Row(str(row["label"]), str(row["role"]), {}, str(row["folder"])) for row in page["rows"]]
        notes, made = ([str(line) for line in page.get(name) or []] for name in ("notes", "made"))
        return Shown(rows, notes, comparisons, made, str(page.get("digest", "")))
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{folder / SHOWN} is not as a study writes it ({error!r}). Run the study again.") from error


def read_study(folder: Path) -> Study:
    """All finished points of a study: those of its last table in their order, then any that it lacks.

    Raises: StorageError: there is no such study, none of its runs is finished, or a file of it is broken.
    """
    if not folder.is_dir():
        raise StorageError(
            f"study={folder}: there is no such folder. Name one that a study wrote, such as runs/embedded."
        )
    shown = _shown(folder)
    known = [] if shown is None else [row for row in shown.rows if (folder / row.folder / SUMMARY).is_file()]
    rows = [*known, *_finished(folder, {row.folder for row in known})]
    arms = [_arm(folder / row.folder, row.label, row.role) for row in rows]
    arms.sort(key=lambda arm: arm.is_human)
    if not arms:
        raise StorageError(
            f"study={folder}: no run in it is finished (a finished one has {SUMMARY}). Run it to its end."
        )
    notes = shown.notes if shown and shown.rows else notes_of({arm.label: arm.scores for arm in arms})
    return Study(folder.resolve().name, folder, arms, [] if shown is None else shown.comparisons, notes)


def _finished(folder: Path, known: Collection[str]) -> list[Row]:
    """Every other finished run: arms by their labels, the human reference last."""
    rows = []
    for path in sorted(file.parent for file in folder.glob(f"*/{SUMMARY}")):
        if path.name not in known:
            point = _yaml(path / "config.yaml").get("point", {})
            role = HUMAN if path.name == HUMAN else "arm"
            rows.append(Row(point.get("label", path.name), point.get("role", role), {}, path.name))
    return sorted(rows, key=lambda row: (row.role == HUMAN, row.label))


def _arm(path: Path, label: str, role: str) -> Arm:
    folder = RunFolder(path)
    config, seconds = _yaml(path / "config.yaml"), _json(path / "latency.json") or {}
    return Arm(
        label,
        role,
        path.name,
        setting=config.get("point", {}).get("setting") or {},
        config=config,
        provenance=_json(path / "provenance.json") or {},
        summary=folder.summary(),
        scores={name: estimate_from_json(found) for name, found in (_json(path / "metrics.json") or {}).items()},
        curve=[(float(x), float(y)) for x, y in _json(path / "divergence.json") or []],
        generations=list(folder.generations().values()),
        token_seconds=[float(value) for value in _flat(seconds.get("token_seconds", []))],
    )


def _flat(values: Sequence[Any]) -> list[float]:
    """Seconds of tokens, which may lie pass by pass."""
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _comparison(record: Mapping[str, Any], folder: Path) -> Comparison:
    try:
        return Comparison(
            metric=str(record["metric"]),
            arm=str(record["arm"]),
            against=str(record["against"]),
            difference=estimate_from_json(record["difference"]),
            p=number(record, "p"),
            p_holm=number(record, "p_holm"),
            detectable=number(record, "detectable"),
        )
    except (KeyError, ValueError) as error:
        raise StorageError(f"{folder / COMPARISONS}: {error}. Run the study again: it writes the file anew.") from error


def _json(path: Path) -> Any:
    """A file's value; None where there is no such file. Raises: StorageError: it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}). Delete it and run the study again.") from error


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StorageError(f"{path} cannot be read ({error}). Delete it and run the study again.") from error
    return found if isinstance(found, dict) else {}
