"""Is this the same study? Texts to the letter, numbers to the last digit, timings aside.

A *record* is what a study can publish when its texts are too many: a digest of every text, and every number of its
tables. Whoever makes the study again holds his folder against it.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.errors import StorageError
from cdeval.private import masked
from cdeval.records import Comparison, Generation
from cdeval.reporting.studyfiles import Arm, Study, read_study
from cdeval.store import replace_file
from cdeval.strictjson import number, parse, to_page

FORMAT = 1
DIGITS = 16  # of a text's SHA-256: 64 bits tell a study's texts apart

# What a clock, a counter or the machine's memory says; no two runs agree on it.
MEASURED = re.compile(
    r"(prefill_seconds|decode_seconds|bandwidth_seconds|latency_overhead|joules|memory_|working_bytes|other_load)"
)


@dataclass(frozen=True, slots=True)
class ArmRecord:
    """One arm of a study."""

    texts: Mapping[str, str]  # prompt id/sample -> first digits of the text's SHA-256
    numbers: Mapping[str, float]  # of its summary and its comparisons; no timings, NaN left out


Record = Mapping[str, ArmRecord]  # by label, in the order of the table


class Likeness(NamedTuple):
    """One arm in two studies."""

    label: str
    same_texts: int
    texts: int  # of either study
    same_numbers: int
    numbers: int  # that both studies have
    furthest: tuple[str, float] | None  # the number that differs most, and by how much of itself

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return (self.same_texts, self.same_numbers) == (self.texts, self.numbers)


def read_record(path: Path, say: Callable[[str], None] = lambda _line: None) -> Record:
    """Of a study's folder, or of a record's file.

    Args:
        path: of either.
        say: takes a line an arm whose texts are other ones than when it was scored.

    Raises: StorageError: it is neither, or broken.
    """
    if not path.is_dir():
        return _from_file(path)
    study = read_study(path)
    for line in study.changed:
        say(f"{path}: {line}")
    return record_of(study)


def record_of(study: Study) -> Record:
    """What a study can publish of itself."""
    return {
        arm.label: ArmRecord(
            {masked(f"{text.id}/{text.sample}"): _digest(text) for text in arm.generations},
            {**_scores(arm), **_differences(arm.label, study.comparisons)},
        )
        for arm in study.arms
    }


def write_record(record: Record, path: Path) -> None:
    """As JSON, sorted, so that two records can be read side by side. Raises: StorageError: the disk refuses."""
    replace_file(path, to_page({"format": FORMAT, "arms": record}))


def compare(one: Record, other: Record) -> list[Likeness]:
    """Arm by arm, by their labels; an arm that only one study has shares nothing with the other."""
    nothing = ArmRecord({}, {})
    return [
        _likeness(label, one.get(label, nothing), other.get(label, nothing)) for label in dict.fromkeys([*one, *other])
    ]


def _likeness(label: str, one: ArmRecord, other: ArmRecord) -> Likeness:
    texts = one.texts.keys() | other.texts.keys()
    same = sum(one.texts.get(key) == other.texts.get(key) for key in texts)
    apart = {name: _apart(value, other.numbers[name]) for name, value in one.numbers.items() if name in other.numbers}
    furthest = max(apart.items(), key=lambda item: item[1], default=("", 0.0))
    equal = sum(distance == 0 for distance in apart.values())
    return Likeness(label, same, len(texts), equal, len(apart), furthest if furthest[1] else None)


def _apart(one: float, other: float) -> float:
    """Their distance, as a share of the larger one."""
    return abs(one - other) / max(abs(one), abs(other)) if one != other else 0.0


def _digest(text: Generation) -> str:
    """Of what the text is; log-probabilities have last digits of their own on every machine."""
    content = json.dumps([text.prompt, text.continuation], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:DIGITS]


def _scores(arm: Arm) -> dict[str, float]:
    return {
        name: value for name, value in arm.summary.items() if not MEASURED.match(name) and not math.isnan(float(value))
    }


def _differences(label: str, comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Of one arm from its controls: value, interval and p, each under a name of its own."""
    found = {}
    for one in comparisons:
        if one.arm != label or MEASURED.match(one.metric):
            continue
        numbers = {
            "": one.difference.value,
            " low": one.difference.low,
            " high": one.difference.high,
            " p": one.p,
            " p (Holm)": one.p_holm,
        }
        for end, value in numbers.items():
            if not math.isnan(value):
                found[f"{one.metric} less that of {one.against}{end}"] = value
    return found


def _from_file(path: Path) -> Record:
    wrong = f"{path} is neither a study's folder, such as runs/embedded, nor a record that cdeval.compare wrote"
    try:
        page = parse(path.read_bytes())
    except FileNotFoundError:
        raise StorageError(f"{path}: there is no such file or folder. Name a study, such as runs/embedded.") from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{wrong} ({error}).") from error
    if not isinstance(page, dict) or str(page.get("format")) != str(FORMAT) or not isinstance(page.get("arms"), dict):
        raise StorageError(f"{wrong} (format {FORMAT}).")
    try:
        return {str(label): _arm(found) for label, found in page["arms"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{wrong} ({error!r}).") from error


def _arm(found: Mapping[str, Any]) -> ArmRecord:
    texts = {str(key): str(digest) for key, digest in found["texts"].items()}
    return ArmRecord(texts, {str(name): number(found["numbers"], name) for name in found["numbers"]})
