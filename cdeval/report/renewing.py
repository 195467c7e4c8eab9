"""Comparisons that a study has lost, made again of the scores that its run folders keep: no model is needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cdeval.config.enums import DiversityProtocol
from cdeval.config.schema import ProtocolConfig
from cdeval.errors import StorageError
from cdeval.metrics.compare import Settings
from cdeval.metrics.pairing import compare_kept
from cdeval.metrics.scorefile import read_scores, texts_digest
from cdeval.records import Comparison
from cdeval.report.finished import Finished, all_finished, controls_among, scoring_turn
from cdeval.report.reading import comparisons_of, optional, settings_of
from cdeval.report.studyfiles import COMPARISONS, read_shown, write_shown
from cdeval.store.folder import SUMMARY, RunFolder, replace_file
from cdeval.store.strict_json import to_page


def renew_comparisons(root: Path, say: Callable[[str], None]) -> None:
    """Make `comparisons.json` again where it is lost or damaged and the run folders keep the scores of their points.

    They are made as the study's last command asked for: at its confidence, from as many draws.

    Args: root: the study's folder. say: takes a line where something is made again.

    Raises: StorageError: a file is broken, or the disk refuses.
    """
    if not _lost(root / COMPARISONS) or not _known(root):
        return
    with scoring_turn(root, say):
        every = _known(root)
        kept = {one.label: read_scores(root / one.folder) for one in every}
        if not any(found.scores for found in kept.values()) or not _lost(root / COMPARISONS):
            return
        contents = {one.label: texts_digest(list(RunFolder(root / one.folder).generations().values())) for one in every}
        current = {label: found.current(contents[label]) for label, found in kept.items()}
        settings, protocol = _asked(root, every)
        comparisons = compare_kept(current, controls_among(every), settings, protocol, say)
        replace_file(root / COMPARISONS, to_page(comparisons))
        shown = read_shown(root)
        if shown is not None and shown.rows:
            write_shown(root, replace(shown, digest=""))  # another command is to compare anew
        say(f"{root / COMPARISONS} was lost or damaged, and is made again of the scores that are kept")


def _known(root: Path) -> list[Finished]:
    """Points of which it is known with which they can be compared."""
    return [one for one in all_finished(root, []) if one.group is not None]


def _lost(path: Path) -> bool:
    problems: list[str] = []
    nothing: list[Comparison] = []
    optional(path, comparisons_of, nothing, problems)
    return bool(problems) or not path.exists()


def _asked(root: Path, every: Sequence[Finished]) -> tuple[Settings, ProtocolConfig]:
    """Read the settings of the last command; defaults where they do not say.

    Raises: StorageError: they are damaged.
    """
    last = max(every, key=lambda one: (root / one.folder / SUMMARY).stat().st_mtime)
    path = root / last.folder / "config.yaml"
    try:
        return settings_asked(settings_of(path))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise StorageError(
            f"{path} is damaged ({error!r}), so the lost {COMPARISONS} cannot be made again. Run the command that made "
            "the study once more: it reuses the texts."
        ) from error


def settings_asked(asked: Mapping[str, Any]) -> tuple[Settings, ProtocolConfig]:
    """Read how a command compares from the settings that a run folder keeps; defaults where they do not say.

    Raises: ValueError, TypeError, LookupError, AttributeError: they are damaged.
    """
    metrics, protocol = asked.get("metrics", {}), asked.get("protocol", {})
    usual, defined = Settings(), ProtocolConfig()
    settings = Settings(
        float(metrics.get("confidence", usual.confidence)),
        int(metrics.get("bootstrap_draws", usual.draws)),
        int(asked.get("seed", usual.seed)),
    )
    return settings, ProtocolConfig(diversity=DiversityProtocol[protocol.get("diversity", defined.diversity.name)])
