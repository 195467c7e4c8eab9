"""Metrics of users' own: one function that scores one text, registered from a module that `plugins=[…]` names.

No file of cdeval is touched for one. A metric appears in tables, pages, comparisons and exports beside cdeval's own.
Its scores are kept under a digest of its file, so that they are computed again when the file changes.
"""

import inspect
import logging
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from cdeval.config.methods import Origin
from cdeval.config.plugins import offer
from cdeval.errors import ConfigError, one_line
from cdeval.metrics.pairing import ORDER
from cdeval.metrics.rows import Rows, mean_rows
from cdeval.records import Generation

_log = logging.getLogger(__name__)

DIRECTIONS: Mapping[str, int | None] = MappingProxyType({"higher": 1, "lower": -1, "human": 0, "none": None})
_ARGUMENTS = (["text"], ["prompt", "text"], ["generation"])
_NOTE = "mean over texts"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a plug-in."""

    name: str  # in summary.json and metrics.only
    label: str  # in tables and on pages
    unit: str  # empty: a pure number
    better: int | None  # 1: higher, -1: lower, 0: nearer to the human texts', None: it is described and not ranked
    digits: int  # decimals that are shown
    score: Callable[..., float]
    takes: tuple[str, ...]  # names of the arguments of `score`
    origin: Origin

    def rows(self, generations: Sequence[Generation]) -> Rows:
        """Score every text; NaN is a text without a value, and is counted.

        A function that breaks costs its own metric alone: no text has a value then, the note says why, and so does the
        log.
        """
        prompts = [generation.id for generation in generations]
        values, problem = np.full((len(prompts), 1), math.nan), ""
        for place, generation in enumerate(generations):
            found, problem = self._of_text(generation)
            if problem:
                _log.error("%s", problem)
                values[:] = math.nan
                break
            values[place] = found
        return mean_rows(values, prompts, "" if problem else _NOTE, problem)

    def _of_text(self, generation: Generation) -> tuple[float, str]:
        """The text's number, and what went wrong."""
        given: dict[str, Any] = {
            "text": generation.continuation,
            "prompt": generation.prompt,
            "generation": generation,
        }
        of = f"the metric {self.name} ({self.origin.where}) has no score:"
        try:
            found: Any = self.score(*(given[name] for name in self.takes))
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {one_line(error)} ({frame.filename}:{frame.lineno})"
            return math.nan, f"{of} text {generation.id} raised {said}"
        if isinstance(found, bool) or not isinstance(found, int | float | np.integer | np.floating):
            return (
                math.nan,
                f"{of} for text {generation.id} it returned {type(found).__name__}, expected a number or NaN",
            )
        if math.isinf(found):
            return math.nan, f"{of} for text {generation.id} it returned {found}, expected a finite number or NaN"
        return float(found), ""


_PLUGGED: dict[str, Metric] = {}


def plugged() -> Mapping[str, Metric]:
    """The metrics of plug-ins by name, in the order in which they were registered."""
    return MappingProxyType(_PLUGGED)


def metric(
    name: str, *, label: str = "", unit: str = "", better: str = "none", digits: int = 3
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Register a function that scores one text.

    The function takes `text`, or `prompt` and `text`, or `generation` (a `cdeval.records.Generation`), and returns a
    number; NaN where the text has no value. The metric of an arm is the mean over its texts that have one.

    Args:
        name: in files and in `metrics.only`; letters, digits and underscores.
        label: in tables; the name with blanks where it is left out.
        unit: of the number; empty for a pure number.
        better: `higher`, `lower`, `human` (nearer to the human texts') or `none` (neither ranked nor marked).
        digits: decimals that tables show.

    Raises: ConfigError: the name is taken or no name, or one of the others is not as described.
    """

    def register(score: Callable[..., float]) -> Callable[..., float]:
        origin = Origin.of_code(score)
        what = f"metric {name!r} ({origin.where})"
        if not name.isidentifier():
            raise ConfigError(f"{what}: expected a name of letters, digits and underscores.")
        if better not in DIRECTIONS:
            raise ConfigError(f"{what}: better={better!r}: expected {', '.join(DIRECTIONS)}.")
        takes = list(inspect.signature(score).parameters)
        if takes not in _ARGUMENTS:
            expected = " or ".join(f"({', '.join(one)})" for one in _ARGUMENTS)
            raise ConfigError(f"{what} takes ({', '.join(takes)}): expected {expected}.")
        _check_free(name, what, origin)
        _PLUGGED[name] = Metric(
            name, label or name.replace("_", " "), unit, DIRECTIONS[better], digits, score, tuple(takes), origin
        )
        offer(f"metrics.only=[{name}]")
        return score

    return register


def _check_free(name: str, what: str, origin: Origin) -> None:
    known = _PLUGGED.get(name)
    if name in ORDER:
        raise ConfigError(f"{what} has the name of a metric of cdeval: rename it.")
    if known is not None and known.origin.where != origin.where:
        raise ConfigError(f"{what} is registered twice, also by {known.origin.where}: rename one.")
