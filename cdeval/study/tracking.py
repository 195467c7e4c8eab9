"""What a study tells its tracker: of each point and of itself, from the first token to the report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from cdeval.config.points import Point, Role
from cdeval.config.words import in_words
from cdeval.report.progress import Advance
from cdeval.report.summary import flops_unknown
from cdeval.report.tracking.boards import beginning_study_run, study_run
from cdeval.report.tracking.given import target_of
from cdeval.report.tracking.live import Live
from cdeval.report.tracking.runs import Mirrored, tags_of
from cdeval.report.tracking.track import point_run, track
from cdeval.store.folder import RunFolder
from cdeval.study.open import LoadedStudy
from cdeval.study.point_store import PointRecord
from cdeval.study.run_folders import Texts
from cdeval.study.units import Unit

_SHAPING = ("amateur", "contrast", "search")  # groups of settings that a point may have otherwise than typed


class StudyTracking:
    """The runs of a study's points and its own. Nothing here costs the study a result, or waits while it decodes.

    Leaving it as a context ends what is still shown.
    """

    def __init__(self, study: LoadedStudy, records: Mapping[Point, PointRecord]) -> None:
        """Begin nothing yet.

        Args:
            study: the loaded study.
            records: of its points.
        """
        self._study, self._records = study, records
        self._target = target_of(study.config.tracking)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.end()

    def shows(self, units: Sequence[Unit], progress: Advance) -> Advance:
        """Begin to show the points of these units, if that is asked for. Returns: what is told of their decoding."""
        if self._target is None or not self._study.config.tracking.live:
            return progress
        live = self._live = self._live or Live(self._target, self._study.root, self._study.say)
        lacking = Counter(text.point for unit in units for text in unit.texts)
        prompts = len(self._study.prompts.prompts)
        wanted = {
            point.label: (max(0, prompts * point.samples - count), prompts * point.samples)
            for point, count in lacking.items()
        }
        study = beginning_study_run(self._study.root, self._study.config.tracking.tags)
        live.begin([study, *(self._run(point) for point in lacking)], wanted, sum(unit.tokens for unit in units))
        return _both(progress, Advance(live.tokens, live.texts))

    def finish(self, texts: Texts) -> list[str]:
        """Tell the tracker of the results. Returns: notes on what went wrong there."""
        if self._target is None:
            return []
        runs = [self._run(point, found) for point, found in texts.items()]
        live, self._live = self._live, None
        return track(self._target, self._study.root, [*runs, study_run(self._study.root, self._tags)], live)

    @property
    def _tags(self) -> Sequence[str]:
        return self._study.config.tracking.tags

    def _run(self, point: Point, texts: Sequence[Any] = ()) -> Mirrored:
        """Make the run of a point; without texts, as it is before it is decoded."""
        facts, folder = point.facts(), self._study.root / point.folder
        setting: Any = facts.pop("setting")
        summary = RunFolder(folder).summary() if texts else {}
        prompts, target = self._study.config.prompts, self._target
        unknown = flops_unknown(setting or {}, summary) if texts else ""
        kinds = [setting["amateur"]["kind"], setting["search"]] if setting else []
        return point_run(
            self._study.config.study,
            point.label,
            folder,
            config={
                **_typed(self._records[point].settings, setting),
                "point": facts,
                **({"unknown": unknown} if unknown else {}),
            },
            summary=summary,
            texts=texts,
            digest=point.digest,
            tags=tags_of(*self._tags, facts["role"], *kinds, prompts.source.name, prompts.split.name),
            given=target.arm if target is not None and point.role is Role.arm else None,
        )


def _typed(settings: Mapping[str, Any], setting: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write the settings of a point; those that shape its texts as they hold for it, in the words that one types."""
    found: dict[str, Any] = {name: value for name, value in settings.items() if name not in _SHAPING}
    for word, value in in_words(setting or {}).items():
        *groups, name = word.split(".")
        inside = found
        for group in groups:
            inside = inside.setdefault(group, {})
        inside[name] = value
    return found


def _both(one: Advance, other: Advance) -> Advance:
    def tokens(count: int) -> None:
        one.tokens(count)
        other.tokens(count)

    def texts(stored: Mapping[str, int]) -> None:
        one.texts(stored)
        other.texts(stored)

    return Advance(tokens, texts)
