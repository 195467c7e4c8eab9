"""`python -m cdeval.merge studies=[a/runs/x,b/runs/x] into=runs/all`: run folders of several machines as one study."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cdeval.cli import Schema, run_schema
from cdeval.config.fields import TextForm, check_values, text
from cdeval.config.plugins import Lacking, TakesPlugins, lacking
from cdeval.errors import ConfigError, StorageError
from cdeval.records import Generation
from cdeval.store.files import writing
from cdeval.store.folder import GENERATIONS, Key, RunFolder, explained
from cdeval.store.ledger import LOCK, STUDY
from cdeval.store.locks import short_lock
from cdeval.store.private import masked
from cdeval.store.progress import Steps
from cdeval.store.provenance import identity
from cdeval.store.screen import Screen
from cdeval.store.sessions import PROVENANCE, united_plugins


@dataclass
class MergeConfig(TakesPlugins):
    """The root of `conf/merge.yaml`."""

    studies: Any = text(None, TextForm.lines)  # folders of one study each, as runs/<study>, from several machines
    into: str | None = None  # a study's folder, new or with some of their points; the sources are never changed


def validate_merge(config: MergeConfig) -> MergeConfig:
    """Check that there is something to merge, and a place for it; a single path becomes a list of one.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    given = config.studies if isinstance(config.studies, list) else [config.studies]
    if not given or not all(isinstance(path, str) and path for path in given):
        raise ConfigError(f"studies={config.studies}: expected folders of studies, as studies=[a/runs/x,b/runs/x].")
    if not config.into:
        raise ConfigError("into= has no value: give the folder of the merged study, as into=runs/all.")
    config.studies = given
    return config


SETTINGS = "config.yaml"


class Merged(NamedTuple):
    """A point of the merged study."""

    folder: str
    texts: int
    added: int  # that were not there before


def merge_studies(sources: Sequence[Path], into: Path) -> list[Merged]:
    """Unite studies in a folder that may hold some of their points; merging the same again changes nothing.

    Raises: StorageError: a source is no study or lies in `into`, a file cannot be read or written, or two texts of one
        point, prompt and sample differ: then nothing is written.
    """
    for source in sources:
        if source.resolve() == into.resolve():
            raise StorageError(f"into={into} is one of the studies that are merged: give a folder of its own.")
    points: dict[str, list[Path]] = {}
    for source in [*([into] if into.is_dir() else []), *sources]:
        found = _points(source)
        if not found and source != into:
            raise StorageError(
                f"{source} is no study: none of its folders has {GENERATIONS} and {PROVENANCE}. "
                "Give folders as cdeval.run writes them, runs/<study>."
            )
        for digest, path in found.items():
            points.setdefault(digest, []).append(path)
    say, merged = Screen(errors=True).say, []
    with Steps(say, "compared point", len(points)) as steps:
        for paths in points.values():  # all of them are compared before the first is written
            _same_models(paths)
            _united(paths)
            steps.advance()
    with Steps(say, "wrote point", len(points)) as steps:
        for paths in points.values():
            merged.append(_write(paths, into / paths[0].name))
            steps.advance()
    with writing(into / LOCK), short_lock(into / LOCK):
        (into / STUDY).unlink(missing_ok=True)  # an overview that is made again from the folders
    return merged


def _points(study: Path) -> dict[str, Path]:
    """The run folders of a study by their points' digests."""
    if not study.is_dir():
        raise StorageError(f"{study} is no folder: expected a study as cdeval.run writes it, runs/<study>.")
    found: dict[str, Path] = {}
    for path in sorted(study.iterdir()):
        if not (path / GENERATIONS).is_file() or not (path / PROVENANCE).is_file():
            continue
        record = RunFolder(path).read_json(PROVENANCE)
        try:
            found[str(record["point"]["digest"])] = path  # type: ignore[index]  # what is none of it is reported
        except (KeyError, TypeError):
            raise StorageError(f"{path / PROVENANCE} names no point: it is not from cdeval.run.") from None
    return found


def _united(paths: Iterable[Path]) -> dict[Key, Generation]:
    """Unite all texts of one point, the first folder's own first.

    Raises: StorageError: other models made some of them, or two of them differ. Last digits of log-probabilities may:
        machines round otherwise.
    """
    found: dict[Key, Generation] = {}
    home: dict[Key, Path] = {}
    for path in paths:
        for key, generation in RunFolder(path).generations().items():
            known = found.setdefault(key, generation)
            if (known.prompt, known.prompt_token_ids, known.reference) != (
                generation.prompt,
                generation.prompt_token_ids,
                generation.reference,
            ):
                raise StorageError(
                    f"{home[key] / GENERATIONS} and {path / GENERATIONS} have different prompts or references under "
                    f"the id {key[0]!r}: they are not of one study. Nothing is merged: leave one of the two out."
                )
            if (known.token_ids, known.continuation) != (generation.token_ids, generation.continuation):
                raise StorageError(
                    f"{home[key] / GENERATIONS} and {path / GENERATIONS} hold different texts for sample {key[1]} of "
                    f"the prompt {key[0]!r}. {_blamed(home[key], path)} Nothing is merged: leave one of the two out."
                )
            home.setdefault(key, path)
    return found


def _same_models(paths: Sequence[Path]) -> None:
    """Check that the folders of one point name the same weights. Raises: StorageError: two of them do not."""
    first, *others = paths
    for path in others:
        if apart := _apart(_models(first), _models(path)):
            raise StorageError(
                f"{first} and {path} were made by different models ({'; '.join(apart)}), although they have the name "
                "of one setting. Nothing is merged: leave one of the two out."
            )


def _models(path: Path) -> dict[str, object]:
    """Read which weights made a folder's texts; where they lie and what they are called may differ."""
    models = RunFolder(path).read_mapping(PROVENANCE).get("models")
    models = models if isinstance(models, Mapping) else {}
    lens = models.get("lens")
    named = {f"{name} of the expert": models.get(name) for name in ("architecture", "identity", "fingerprint", "dtype")}
    return {**named, "lens": lens.get("digest") if isinstance(lens, Mapping) else None}


def _blamed(one: Path, other: Path) -> str:
    """Why two folders may hold different texts of one setting, as far as their provenance says."""
    records = [RunFolder(path).read_mapping(PROVENANCE) for path in (one, other)]
    try:
        apart = _apart(*(identity(record) for record in records))
    except (KeyError, TypeError, AttributeError):
        return "Their provenance does not say on which machines they were made."
    if not apart:
        return "Their provenance is the same, so one of them was changed afterwards, or by a fault of its disk."
    exact = (records[0].get("models") or {}).get("dtype") == "float32"
    how = "float32 texts hardly ever differ so" if exact else "in bfloat16 that rounds texts differently"
    return f"They were made otherwise ({'; '.join(apart)}): {how}; expert.dtype=float32 hardly depends on it."


def _apart(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Say what differs, in words; what one of them does not know is no difference."""
    both = [name for name in one if one[name] is not None and other.get(name) is not None]
    return [f"{name} {_brief(one[name])} and {_brief(other[name])}" for name in both if one[name] != other[name]]


def _brief(value: object) -> str:
    return str(value)[:40]


def _write(paths: Sequence[Path], target: Path) -> Merged:
    texts = _united(paths)
    with RunFolder(target) as folder:
        before = folder.generations()
        folder.append(text for key, text in texts.items() if key not in before)
        if not (target / SETTINGS).is_file():
            settings = next((path / SETTINGS for path in paths if (path / SETTINGS).is_file()), None)
            if settings is not None:
                _copy_settings(settings, folder)
        folder.write_json(PROVENANCE, _provenance([RunFolder(path).read_json(PROVENANCE) for path in paths]))
    return Merged(target.name, len(texts), len(texts) - len(before))


def _copy_settings(source: Path, folder: RunFolder) -> None:
    """Copy the settings as they are, unless they name the home folder, as an older cdeval's do."""
    with explained(source):
        text = source.read_text("utf-8")
    try:
        settings = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):  # broken already, and reported by whoever needs it
        settings = None
    if masked(text) != text and isinstance(settings, dict):
        folder.write_settings(SETTINGS, settings)
    else:
        folder.write_text(SETTINGS, text)


def _provenance(records: Sequence[Any]) -> Mapping[str, object]:
    """The first record, with what all of them say of their sessions, each once, and of users' modules."""
    sessions: list[object] = []
    for record in records:
        sessions += [session for session in record.get("sessions", []) if session not in sessions]
    plugins = united_plugins([record.get("plugins") or [] for record in reversed(records)])
    return {**records[0], "sessions": sessions, **({"plugins": plugins} if plugins else {})}


def merge(config: MergeConfig) -> None:
    """Merge, and say what came of it on the standard output."""
    into = Path(str(config.into))
    merged = merge_studies([Path(path) for path in config.studies], into)
    console = Screen()
    for point in merged:
        line = f"  {point.folder}: {point.texts} texts, {point.added} of them new"
        console.say(line)
    lacks = _lacking(into)
    more = f"; for {', '.join(lacks.methods)} {lacks.remedy}" if lacks is not None else ""
    line = f"  {into}: for its table run cdeval.run as before with runs={into.parent} study={into.name}{more}"
    console.say(line)


def _lacking(study: Path) -> Lacking | None:
    """Find the methods of a study whose plug-ins are not loaded."""
    records = [RunFolder(path.parent).read_mapping(PROVENANCE) for path in sorted(study.glob(f"*/{PROVENANCE}"))]
    plugins = [plugin for record in records for plugin in record.get("plugins") or []]
    return lacking(plugins, [method for plugin in plugins for method in plugin["offers"]])


if __name__ == "__main__":
    run_schema(merge, Schema(MergeConfig, validate_merge), config_name="merge")
