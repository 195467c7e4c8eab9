"""The files and folders that a user names, to the arms of one comparison and their human texts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cdeval.errors import TextsError
from cdeval.records import Generation
from cdeval.score.config import FieldsConfig
from cdeval.score.prompts import check_same_prompts
from cdeval.score.read import ReadFile, read_generations
from cdeval.store.private import masked

HUMAN = "human"
_GENERATIONS = "generations.jsonl"


@dataclass(frozen=True, slots=True)
class TextFile:
    """One file to read, and what its run folder says of it."""

    path: Path
    label: str | None  # of its run folder; None for a bare file
    human: bool  # these are the references


@dataclass(frozen=True, slots=True)
class ReadArm:
    """One row of the comparison."""

    label: str
    file: ReadFile

    @property
    def generations(self) -> tuple[Generation, ...]:
        """The arm's texts, in the order of the file; samples of one prompt share its id."""
        return self.file.generations


@dataclass(frozen=True, slots=True)
class Collection:
    """The arms that are compared."""

    arms: tuple[ReadArm, ...]
    human: tuple[Generation, ...]  # one an item; empty where no file has references
    human_file: ReadFile | None  # where the human texts have a file of their own, with their tokens
    notes: tuple[str, ...]


def collect(paths: Sequence[str], labels: Sequence[str], fields: FieldsConfig) -> Collection:
    """Read every file, label the arms, gather the human texts.

    Args:
        paths: JSON or JSONL files, run folders, or folders of run folders.
        fields: names of the fields where they are not recognised.
        labels: one an arm, or none: then a run folder's own label, or what tells the paths apart.

    Raises: TextsError: nothing to read there, a file that cannot be read, or as many labels as arms are needed.
    """
    given = [Path(path) for path in paths]
    sources = [source for path in given for source in _sources(path)]
    arms = [source for source in sources if not source.human]
    if not arms:
        raise TextsError(f"generations={','.join(paths)} holds the human texts only: give the generated ones, too.")
    names = _labels(arms, labels)
    read = [ReadArm(name, read_generations(source.path, fields)) for name, source in zip(names, arms, strict=True)]
    own = [read_generations(source.path, fields) for source in sources if source.human]
    check_same_prompts({arm.label: arm.generations for arm in read} | {HUMAN: own[0].generations if own else ()})
    human, clashes = _human(read, own[0] if own else None)
    notes = [f"{arm.label}: {note}" for arm in read for note in (f"read as {arm.file.format}", *arm.file.notes)]
    notes += [f"{folder.name}: left out, it holds no texts" for path in given for folder in _without_texts(path)]
    if clashes:
        notes.append(f"{HUMAN}: {clashes} prompts have different references in different files; the first one counts")
    return Collection(tuple(read), human, own[0] if own else None, (*notes, *_inequality(read)))


def _sources(path: Path) -> list[TextFile]:
    if not path.is_dir():
        return [TextFile(path, None, human=False)]
    empty = _without_texts(path)
    found = [_stored(folder) for folder in _run_folders(path) if folder not in empty]
    if not found:
        raise TextsError(
            f"generations={path} is a folder without texts: expected {_GENERATIONS} in it, or in the folders in it; "
            "or give a JSON or JSONL file."
        )
    return found


def _run_folders(path: Path) -> list[Path]:
    return [path] if (path / _GENERATIONS).is_file() else sorted(p.parent for p in path.glob(f"*/{_GENERATIONS}"))


def _without_texts(path: Path) -> list[Path]:
    """Run folders of a study that have none: of random weights, whose costs alone count, or killed before the first."""
    if not path.is_dir():
        return []
    return [found for found in _run_folders(path) if found != path and not (found / _GENERATIONS).stat().st_size]


def _stored(folder: Path) -> TextFile:
    """A run folder: its settings say what it is."""
    label, role = folder.name, ""
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        point = settings["point"]
        label, role = str(point["label"]), str(point["role"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError, yaml.YAMLError):
        pass  # texts without their settings are still texts
    return TextFile(folder / _GENERATIONS, label, human=role == HUMAN)


def _labels(sources: Sequence[TextFile], given: Sequence[str]) -> list[str]:
    if given and len(given) != len(sources):
        raise TextsError(f"labels={list(given)} names {len(given)} arms, but there are {len(sources)}.")
    parts = distinguishing([Path(masked(str(source.path))) for source in sources])
    names = list(given) or [source.label or part for source, part in zip(sources, parts, strict=True)]
    if len(set(names)) < len(names) and not given:
        names = [
            f"{name} ({part})" if names.count(name) > 1 and part != name else name
            for name, part in zip(names, parts, strict=True)
        ]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise TextsError(f"two arms are called {doubles[0]!r}: give each its own, as labels=[first,second].")
    if HUMAN in names:
        raise TextsError(f"an arm is called {HUMAN!r}, as the references are: give it another, as labels=[...].")
    return names


def distinguishing(paths: Sequence[Path]) -> list[str]:
    """Find what tells paths apart: their parts without those that all begin or end with, the last one without suffix.

    >>> distinguishing([Path("out/a/texts.jsonl"), Path("out/b/texts.jsonl")])
    ['a', 'b']
    """
    if len(paths) == 1:
        only = paths[0]
        return [only.parent.name if only.name == _GENERATIONS and only.parent.name else only.stem]
    split = [[*path.parts[:-1], path.stem] for path in paths]
    shortest = min(map(len, split))
    start = next((i for i in range(shortest) if len({parts[i] for parts in split}) > 1), shortest)
    end = next((i for i in range(shortest - start) if len({parts[-1 - i] for parts in split}) > 1), shortest - start)
    shortened = ["/".join(parts[start : len(parts) - end]).replace("//", "/") or parts[-1] for parts in split]
    choices = (shortened, [path.name for path in paths], [str(path) for path in paths])
    return next((names for names in choices if len(set(names)) == len(paths)), shortened)


def _human(arms: Sequence[ReadArm], own: ReadFile | None) -> tuple[tuple[Generation, ...], int]:
    """The human texts, each item's once, and how many prompts have unlike references in different files."""
    found = list(own.generations) if own else []
    clashes: set[str] = set()
    for arm in arms:
        known = {generation.id: generation.continuation for generation in found}
        for generation in arm.file.references:
            if generation.id not in known:
                found.append(generation)
            elif own is None and known[generation.id] != generation.continuation:
                clashes.add(generation.id)
    return tuple(found), len(clashes)


def _inequality(arms: Sequence[ReadArm]) -> list[str]:
    """List what a reader must know where the arms do not hold the same prompts, one text each."""
    prompts = {arm.label: {generation.id for generation in arm.generations} for arm in arms}
    notes = [
        f"{arm.label}: {len(arm.generations)} texts of {len(prompts[arm.label])} prompts; samples of one prompt are "
        "one unit of the intervals"
        for arm in arms
        if len(arm.generations) > len(prompts[arm.label])
    ]
    bare = [arm.label for arm in arms if not any(text.prompt for text in arm.generations)]
    if bare and len(arms) > 1:
        notes.append(
            f"{', '.join(bare)}: without prompts, so that nothing shows whether equal ids, or equal places in the "
            "files, are equal prompts: texts are paired by them"
        )
    if len({frozenset(ids) for ids in prompts.values()}) > 1:
        shared = set.intersection(*prompts.values())
        counts = ", ".join(f"{label} {len(ids)}" for label, ids in prompts.items())
        notes.append(
            f"the arms continue different prompts ({counts}; {len(shared)} in common): each is scored on its own; "
            "only differences below the table are paired, on the prompts in common"
        )
    return notes


def digest(generations: Sequence[Generation]) -> str:
    """SHA-256 over ids and prompts, in order: which prompts were scored."""
    sha256 = hashlib.sha256()
    for generation in generations:
        sha256.update(f"{generation.id}\0{generation.prompt}\0".encode("utf-8", "surrogatepass"))
    return sha256.hexdigest()
