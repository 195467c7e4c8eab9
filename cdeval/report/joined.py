"""Several studies as one: their arms side by side, each still compared within its own study alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cdeval.config.naming import shortened
from cdeval.errors import ConfigError, did_you_mean
from cdeval.records import Comparison
from cdeval.report.studyfiles import SHOWN, Arm, Study
from cdeval.store.folder import SUMMARY

_NAME_BYTES = 200  # of a joined study's folder


def find_study(given: str, runs: Path) -> Path:
    """Find a study by its path, or by its name in the folder of all studies.

    Raises: ConfigError: there is no such folder; names those that there are.
    """
    for path in (Path(given), runs / given):
        if path.is_dir():
            return path
    known = sorted({path.parents[1].name for path in runs.glob(f"*/*/{SUMMARY}")})
    hint = did_you_mean(given, known) if known else f"There is no study in {runs} either: give a path."
    raise ConfigError(f"study={given}: there is no such folder, and no study of that name in {runs}. {hint}")


def joint_folder(folders: Sequence[Path], out: Path | None) -> Path:
    """Choose the folder of a joint report: the given one, or one beside the first study, named after all of them.

    Raises: ConfigError: a study lies there, whose own report it holds.
    """
    name = shortened("+".join(folder.resolve().name for folder in folders), _NAME_BYTES)
    first = folders[0].resolve() if folders[0].name in ("", "..") else folders[0]
    found = first.parent / name if out is None else out
    if (found / SHOWN).exists() or any(found.glob(f"*/{SUMMARY}")):
        raise ConfigError(f"{found} holds a study of its own, whose report is there: give another folder, as out=….")
    return found


def joined(studies: Sequence[Study], folder: Path) -> Study:
    """Put the arms of several studies into one, whose report lies in `folder`; human texts last.

    An arm that has the label of another study's has its study's name behind it.
    """
    names = _names(studies)
    counts = Counter(arm.label for study in studies for arm in study.arms)
    arms: list[Arm] = []
    comparisons: list[Comparison] = []
    notes: list[str] = []
    families: dict[str, int] = {}
    for name, study in zip(names, studies, strict=True):
        told = {arm.label: f"{arm.label} [{name}]" if counts[arm.label] > 1 else arm.label for arm in study.arms}
        arms += [replace(arm, label=told[arm.label], study=name) for arm in study.arms]
        comparisons += [
            replace(one, arm=told.get(one.arm, one.arm), against=told.get(one.against, one.against))
            for one in study.comparisons
        ]
        notes += [f"{name}: {note}" for note in study.notes]
        families[name] = sum(study.families.values())
    arms.sort(key=lambda arm: arm.is_human)
    return Study(" + ".join(names), folder, arms, comparisons, [*_differing(studies), *notes], families)


def _names(studies: Sequence[Study]) -> list[str]:
    """The studies' names; with the folder above where two are called the same, or whole paths where that is the same.

    Raises: ConfigError: one is given twice.
    """
    paths = [study.folder.resolve() for study in studies]
    for path, count in Counter(paths).items():
        if count > 1:
            raise ConfigError(f"study= names {path} {count} times: give each study once.")
    choices = ([path.name for path in paths], [f"{path.parent.name}/{path.name}" for path in paths], map(str, paths))
    return next(found for names in choices if len(set(found := list(names))) == len(paths))


def _differing(studies: Sequence[Study]) -> list[str]:
    """Say where numbers of different studies are not of the same prompts or of the same expert."""
    facts = {
        "prompts": {str(arm.provenance.get("prompts_digest")) for study in studies for arm in study.decoded},
        "experts": {
            str((arm.provenance.get("models") or {}).get("fingerprint")) for study in studies for arm in study.decoded
        },
    }
    unlike = [name for name, found in facts.items() if len(found) > 1]
    if not unlike:
        return []
    return [f"The studies differ in their {' and '.join(unlike)}: numbers of one are no measure of the other's arms"]
