"""Registering a metric, ours or a user's own: a function of one text, a function of all texts, or a class.

    @metric("word_length", label="word length", unit="letters", better="human")
    def word_length(text):                          # one text, or (prompt, text), or (generation): a mean over texts
        return sum(map(len, text.split())) / max(1, len(text.split()))

    @metric("closeness", better="lower", needs=["embedder"])
    def closeness(texts, embed):                    # all texts of an arm: a number, or one for each text
        unit = ...

A function takes what it needs by name. Of one text: `text`, `prompt`, `reference` (the human continuation or None) or
`generation` (a `cdeval.records.Generation`); it returns a number, or two, whose sums over texts are divided. Of all
texts: `texts` or `generations`, and `prompts`, `references`, `embed` (texts -> vectors, by metrics.embedder), `nll`
(an array [text, 2]: nats and tokens, by metrics.scorer), `scorer` (that model, with its tokenizer) and `seed`. It
returns one number, which has no interval, or a row for each text, a number or two as above, with all that rows have.

A class inherits `registry.Metric`, as cdeval's own do.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cdeval.config.methods import Origin
from cdeval.config.metrics import METRICS, Need
from cdeval.errors import ConfigError, did_you_mean, one_line
from cdeval.metrics.evaluating import is_copy
from cdeval.metrics.means import Found, Means
from cdeval.metrics.registry import Better, Metric, MetricError, raised
from cdeval.metrics.rows import Rows, mean_rows, ratio_rows
from cdeval.records import HUMAN_TEXTS, Estimate, Generation

C = TypeVar("C", bound=Callable[..., Any])

_OF_TEXT = ("text", "prompt", "reference", "generation")
# What a function of all texts may take, and what that needs.
_OF_TEXTS: Mapping[str, Need | None] = {
    "texts": None,
    "generations": None,
    "prompts": None,
    "references": Need.references,
    "embed": Need.embedder,
    "nll": Need.scorer,
    "scorer": Need.scorer,
    "seed": None,
}


def metric(name: str, *, better: str = "none", needs: Sequence[str] = (), **facts: Any) -> Callable[[C], C]:
    """Register a function, or a class that inherits `Metric`: a decorator.

    Args:
        name: in files and in `metrics.only`; letters, digits and underscores.
        better: `higher`, `lower`, `human` (nearer to the human texts') or `none` (neither ranked nor marked).
        needs: names of `Need` beside those that a function's arguments say: `tokens` for token ids, for instance.
        facts: other fields of `Metric`, as label, unit, digits, bounds; of a function also note (how it is made) and
            lacking (why a text has no value), which stand below tables.

    Raises: ConfigError: the name is taken or no name, or something else is not as described.
    """

    def decorated(code: C) -> C:
        if not is_copy(code.__module__):
            _register(name, code, {**facts, "better": better, "needs": needs})
        return code

    return decorated


def _register(name: str, code: Callable[..., Any], facts: dict[str, Any]) -> None:
    origin = None if code.__module__.startswith("cdeval.") else Origin.from_code(code)
    what = f"metric {name!r}" + (f" ({origin.where})" if origin is not None else "")
    if origin is not None and any(one.name == name and one.origin is None for one in METRICS.every()):
        raise ConfigError(f"{what} has the name of a metric of cdeval: rename it.")
    if not name.isidentifier():
        raise ConfigError(f"{what}: expected a name of letters, digits and underscores.")
    kind, given = _kind(code, what)
    known = {one.name for one in fields(kind)} - {"name", "code", "takes"}
    for fact in facts:
        if fact not in known:
            raise ConfigError(f"{what}: there is no {fact}=. {did_you_mean(fact, known)}")
    facts["better"] = _member(Better, facts["better"], f"{what}: better")
    needs = frozenset(_member(Need, one, f"{what}: needs") for one in facts["needs"])
    facts["needs"] = needs | {need for one in given.get("takes", ()) if (need := _OF_TEXTS.get(one)) is not None}
    made = kind(name=name, **given, **facts)
    made.origin = origin
    METRICS.add(made)


def _kind(code: Callable[..., Any], what: str) -> tuple[type[Metric], dict[str, Any]]:
    """The class of a metric that is computed by this code, and what it takes beside the facts."""
    if inspect.isclass(code):
        if not issubclass(code, Metric):
            raise ConfigError(f"{what}: expected a function, or a class that inherits cdeval.Metric.")
        return code, {}
    parameters = inspect.signature(code).parameters.values()
    takes = tuple(one.name for one in parameters if one.default is one.empty)
    if takes and set(takes) <= set(_OF_TEXT):
        return _OfText, {"code": code, "takes": takes}
    if set(takes) & {"texts", "generations"} and set(takes) <= set(_OF_TEXTS):
        return _OfTexts, {"code": code, "takes": takes}
    raise ConfigError(
        f"{what} takes ({', '.join(takes)}): expected some of ({', '.join(_OF_TEXT)}), or texts or generations with "
        f"some of ({', '.join(name for name in _OF_TEXTS if name not in ('texts', 'generations'))})."
    )


def _member(kind: Any, given: object, what: str) -> Any:
    if given not in kind.__members__:
        raise ConfigError(f"{what}={given!r}: expected {', '.join(kind.__members__)}.")
    return kind[given]


@dataclass(kw_only=True, eq=False)
class _Function(Metric):
    """A metric that is one function."""

    code: Callable[..., Any]
    takes: tuple[str, ...]  # names of its arguments
    note: str = ""
    lacking: str = ""

    def call(self, given: Mapping[str, Any], what: str) -> Any:
        """Call the function. Raises: MetricError: a plug-in's raises; says where."""
        try:
            return self.code(**given)
        except Exception as error:
            if self.origin is None:
                raise
            raise MetricError(f"{what} {raised(error)}") from error

    def rows(self, found: NDArray[np.float64], texts: Sequence[Generation]) -> Rows:
        """Numbers [text] or pairs [text, 2] as rows that add up: a mean, or sum over sum."""
        make, values = (mean_rows, found[:, None]) if found.ndim == 1 else (ratio_rows, found)
        return make(values, [text.id for text in texts], self.note or "mean over texts", self.lacking)


class _OfText(_Function):
    """A function of one text."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Score every text by itself. Raises: MetricError: the function raises, or returns no number or pair."""
        found: list[Any] = []
        for text in texts:
            given = {"text": text.continuation, "prompt": text.prompt, "reference": text.reference, "generation": text}
            what = f"text {text.id}"
            found.append(self.call({name: given[name] for name in self.takes}, what))
            for number in found[-1] if isinstance(found[-1], tuple) else found[-1:]:
                _check(number, f"for {what} it returned")
        if len({len(one) if isinstance(one, tuple) else 1 for one in found}) > 1:
            raise MetricError("it returned numbers for some texts and pairs of numbers for others")
        return self.rows(np.array(found, dtype=np.float64), texts)


class _OfTexts(_Function):
    """A function of all texts of an arm."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Score the texts together. Raises: MetricError: the function raises, or returns neither number nor rows."""
        if Need.references in self.needs and (reason := _incomparable(texts)):
            return Estimate(math.nan, math.nan, math.nan, 0, len(texts), reason)
        found = self.call({name: _given(name, texts, means) for name in self.takes}, "it")
        if isinstance(found, Sequence | np.ndarray) and not isinstance(found, str):
            try:
                rows = np.asarray(found, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise MetricError(f"it returned rows that are no numbers: {one_line(error)}") from error
            if rows.shape not in {(len(texts),), (len(texts), 2)} or np.isinf(rows).any():
                shape = f"finite numbers or NaN of shape [{len(texts)}] or [{len(texts)}, 2]"
                raise MetricError(f"it returned an array of shape {list(rows.shape)}: expected {shape}")
            return self.rows(rows, texts)
        _check(found, "it returned")
        note = self.note or "of all texts together, without an interval"
        return Estimate(float(found), math.nan, math.nan, len(texts), 0, note)


def _given(name: str, texts: Sequence[Generation], means: Means) -> Any:
    """Find what a function of all texts takes under this name."""
    match name:
        case "generations":
            return list(texts)
        case "embed":
            return means.embed
        case "nll":
            return means.nll(texts).copy()
        case "scorer":
            return means.judges.reader(Need.scorer).scorer
        case "seed":
            return means.seed
        case _:
            field = {"texts": "continuation", "prompts": "prompt", "references": "reference"}[name]
            return [getattr(text, field) for text in texts]


def _incomparable(texts: Sequence[Generation]) -> str:
    """Why texts cannot be compared with human ones; empty where they can."""
    if all(text.reference is None for text in texts):
        return "no human texts to compare with"
    return HUMAN_TEXTS if all(text.continuation == text.reference for text in texts) else ""


def _check(found: object, what: str) -> None:
    """Check that something is a finite number or NaN. Raises: MetricError: it is not."""
    if isinstance(found, bool) or not isinstance(found, int | float | np.integer | np.floating):
        raise MetricError(f"{what} {type(found).__name__}, expected a number or NaN")
    if math.isinf(found):
        raise MetricError(f"{what} {found}, expected a finite number or NaN")
