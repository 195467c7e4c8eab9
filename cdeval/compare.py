"""`python -m cdeval.compare studies=[runs/mine,docs/study/study_news.json]`: is this the same study?"""

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.cli import Schema, run_schema
from cdeval.config.fields import TextForm, check_values, text
from cdeval.config.plugins import TakesPlugins
from cdeval.errors import ConfigError, StorageError
from cdeval.records import Comparison, Generation
from cdeval.report.studyfiles import Arm, Study, read_study
from cdeval.store.escaping import printable
from cdeval.store.folder import replace_file
from cdeval.store.private import masked
from cdeval.store.progress import Steps
from cdeval.store.screen import Screen
from cdeval.store.strict_json import number, parse, to_page

PAIR = 2


@dataclass
class CompareRun(TakesPlugins):
    """The root of `conf/compare.yaml`."""

    # Two of them: folders as runs/<study>, or records; one is enough with record=.
    studies: Any = text(None, TextForm.lines)
    record: str | None = None  # a file for the record of the first study: digests of its texts, its numbers


def validate_compare(config: CompareRun) -> CompareRun:
    """Check that there are two studies, or one and a file for its record; a single path becomes a list of one.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    given = config.studies if isinstance(config.studies, list) else [config.studies]
    if not given or not all(isinstance(path, str) and path for path in given):
        raise ConfigError(
            f"studies={config.studies}: expected two folders of studies or records of them, as "
            "studies=[runs/mine,docs/study/study_news.json]."
        )
    if len(given) > PAIR or (len(given) < PAIR and not config.record):
        raise ConfigError(
            f"studies=[{','.join(given)}] names {len(given)}: expected two to compare, or one with record=<file>."
        )
    if config.record is not None and not str(config.record).endswith(".json"):
        raise ConfigError(f"record={config.record}: expected the name of a .json file.")
    config.studies = given
    return config


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
    """Read the record of a study's folder, or a record's file.

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
    """Make the record of a study: the part of it that can be published."""
    return {
        arm.label: ArmRecord(
            {masked(f"{text.id}/{text.sample}"): _digest(text) for text in arm.generations},
            {**_scores(arm), **_differences(arm.label, study.comparisons)},
        )
        for arm in study.arms
    }


def write_record(record: Record, path: Path) -> None:
    """Write it as sorted JSON, so that two records can be read side by side. Raises: StorageError: the disk refuses."""
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
    """Compute the distance of two numbers, as a share of the larger one."""
    return abs(one - other) / max(abs(one), abs(other)) if one != other else 0.0


def _digest(text: Generation) -> str:
    """Digest a text without its log-probabilities, whose last digits differ between machines."""
    content = json.dumps([text.prompt, text.continuation], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:DIGITS]


def _scores(arm: Arm) -> dict[str, float]:
    return {
        name: value for name, value in arm.summary.items() if not MEASURED.match(name) and not math.isnan(float(value))
    }


def _differences(label: str, comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Collect the differences of one arm from its controls: value, interval and p, each under a name of its own."""
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


def compare_studies(config: CompareRun) -> None:
    """Print how alike they are to the standard output; exit with 1 where anything differs.

    A study whose texts are other ones than when they were scored is the same as none, and makes no record.

    Raises: StorageError: a study or a record cannot be read or written.
    """
    console = Screen()
    changed: list[str] = []
    with Steps(Screen(errors=True).say, "reading the studies"):
        records = [read_record(Path(path), changed.append) for path in config.studies]
    for line in changed:
        console.say(f"  {line}")
    if changed and config.record is not None:
        raise StorageError(
            f"record={config.record}: not written, because scores in it would be of other texts: {changed[0]}."
        )
    if config.record is not None:
        write_record(records[0], Path(config.record))
        console.say(f"  record: {config.record}")
    if len(records) < PAIR:
        return
    with Steps(Screen(errors=True).say, "comparing their texts and scores"):
        found = compare(*records)
    console.print(_table(found))
    same = all(arm.same for arm in found)
    if changed and same:
        console.say("  they may differ: what is left of them is the same, but some scores are of texts that are gone")
    else:
        console.say(f"  {_verdict(found)}")
    if changed or not same:
        sys.exit(1)


def _table(found: Sequence[Likeness]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm", overflow="fold")
    for header in ("same texts", "same numbers"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("furthest apart", overflow="fold")
    for arm in found:
        table.add_row(
            Text(printable(arm.label)),
            f"{arm.same_texts} of {arm.texts}",
            f"{arm.same_numbers} of {arm.numbers}",
            "" if arm.furthest is None else Text(printable(f"{arm.furthest[0]}: {arm.furthest[1]:.1%}")),
        )
    return table


def _verdict(found: Sequence[Likeness]) -> str:
    texts, numbers = sum(arm.texts for arm in found), sum(arm.numbers for arm in found)
    if all(arm.same for arm in found):
        return f"the same study: {texts} texts and {numbers} numbers, timings aside"
    same_texts, same_numbers = sum(arm.same_texts for arm in found), sum(arm.same_numbers for arm in found)
    return (
        f"they differ: {same_texts} of {texts} texts and {same_numbers} of {numbers} numbers are the same. "
        "bfloat16 texts belong to a processor, a number of threads and a plan of batches; float32 ones hardly ever do"
    )


if __name__ == "__main__":
    run_schema(compare_studies, Schema(CompareRun, validate_compare), config_name="compare")
