"""A study's files one by one, checked as they are read: of what type, finite, and not less than nothing.

What a page can do without is left out, and a line says so; what it cannot is named with what brings it back.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from cdeval.errors import StorageError
from cdeval.metrics.registry import Metric, all_metrics, stored_metric
from cdeval.records import Comparison, Estimate
from cdeval.store.files import refused_reading
from cdeval.store.strict_json import estimate_from_json, number, parse

_T = TypeVar("_T")

_NODES = 100_000  # of settings; more come of a few lines only by references to references
_AGAIN = "Run the command that made it once more: it writes the file anew and reuses the texts"


def required(path: Path, read: Callable[[Any], _T], default: _T) -> _T:
    """Read a file and convert its value by `read`; `default` where there is no such file.

    Raises: StorageError: it cannot be read, or is not what it should be.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return default
    except OSError as error:
        raise StorageError(refused_reading(path, error)) from error
    try:
        return read(parse(data))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise StorageError(f"{path} is damaged ({_reason(error)}). {_AGAIN}.") from error


def optional(path: Path, read: Callable[[Any], _T], default: _T, problems: list[str]) -> _T:
    """Read a file like `required`, but of what can be left out: a broken file adds a line to `problems`."""
    try:
        return required(path, read, default)
    except StorageError as error:
        problems.append(f"left out: {error}")
        return default


def settings_of(path: Path) -> dict[str, Any]:
    """A file of settings in YAML as JSON's types; empty where there is no such file.

    Raises: StorageError: it cannot be read, or is no mapping.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(refused_reading(path, error)) from error
    try:
        found = _Budget().plain(yaml.safe_load(data.decode()))
        if not isinstance(found, dict) or not found:
            raise ValueError("it is no mapping of names to values")
        point = found.get("point", {})
        setting = point.get("setting") or {}
        if not isinstance(setting, dict) or not isinstance(setting.get("amateur") or {}, dict):
            raise ValueError("the point's setting is no mapping")
    except (ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise StorageError(f"{path} is damaged ({_reason(error)}). {_AGAIN}.") from error
    return found


class _Budget:
    """Copies of a value in JSON's types, up to a number of parts in all."""

    def __init__(self) -> None:
        self._left = _NODES

    def plain(self, value: object) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("it has more parts than settings have")
        match value:
            case dict():
                return {str(name): self.plain(item) for name, item in value.items()}
            case list():
                return [self.plain(item) for item in value]
            case None | bool() | str():
                return value
            case int() | float() if abs(value) < 1e300:  # not infinite, not a number of 400 digits
                return value
            case _:
                return str(value)


def mapping(value: Any) -> dict[str, Any]:
    """Check that a value is a mapping. Raises: ValueError: it is none."""
    if not isinstance(value, dict):
        raise ValueError("it is no mapping of names to values")
    return value


def scores_of(value: Any) -> dict[str, Estimate]:
    """`metrics.json`. Raises: ValueError."""
    if not mapping(value):
        raise ValueError("it holds no score")
    return {name: estimate_from_json(found) for name, found in value.items()}


def curve_of(value: Any) -> list[tuple[float, float]]:
    """`divergence.json`: points in [0, 1]². Raises: ValueError, TypeError."""
    points = [(_part(x), _part(y)) for x, y in value]
    if not isinstance(value, list):
        raise ValueError("it is no list of points")
    return points


def seconds_of(value: Any) -> list[float]:
    """The seconds of tokens in `latency.json`, which may lie pass by pass. Raises: ValueError, TypeError."""
    if value is None:
        return []
    found = mapping(value)["token_seconds"]
    flat = [item for one in found for item in (one if isinstance(one, list) else [one])]
    return [_seconds(item) for item in flat]


def strange_metrics(value: Any) -> list[Metric]:
    """The metrics of `metrics.json` whose plug-ins are not loaded, as they are described there. Raises: ValueError."""
    known = {metric.name for metric in all_metrics()}
    strange = {name: mapping(found) for name, found in mapping(value).items() if name not in known}
    return [stored_metric(name, mapping(found.get("metric", {}))) for name, found in strange.items()]


class Table(NamedTuple):
    """The table that stood on the screen last."""

    rows: Sequence[Mapping[str, str]]  # label, role and folder of each
    notes: Sequence[str]
    made: Sequence[str]  # those of the notes that say how texts were made
    digest: str  # of what the comparisons were made of; empty: that is not known


def table_of(value: Any) -> Table:
    """`shown.json`. Raises: ValueError."""
    rows = [{name: _text(row, name) for name in ("label", "role", "folder")} for row in mapping(value)["rows"]]
    if not rows:
        raise ValueError("it has no row")
    if any(Path(row["folder"]).name != row["folder"] for row in rows):
        raise ValueError("a row's folder lies elsewhere")
    digest = value.get("digest", "")
    if not isinstance(digest, str):
        raise ValueError("`digest` is no text")
    return Table(rows, _texts(value, "notes"), _texts(value, "made"), digest)


def _texts(record: Mapping[str, Any], name: str) -> list[str]:
    texts = record.get(name) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"`{name}` are no texts")
    return texts


def comparisons_of(value: Any) -> list[Comparison]:
    """`comparisons.json`. Raises: ValueError."""
    if not isinstance(value, list):
        raise ValueError("it is no list of comparisons")
    return [
        Comparison(
            metric=_text(record, "metric"),
            arm=_text(record, "arm"),
            against=_text(record, "against"),
            difference=estimate_from_json(mapping(record).get("difference")),
            p=_probability(record, "p"),
            p_holm=_probability(record, "p_holm"),
            detectable=number(record, "detectable"),
        )
        for record in value
    ]


def provenance_of(value: Any) -> dict[str, Any]:
    """`provenance.json`, whose parts are mappings or missing. Raises: ValueError."""
    found = mapping(value)
    if not found:
        raise ValueError("it says nothing")
    for name in ("models", "machine", "libraries", "cdeval", "numerics"):
        mapping(found.get(name) or {})
    for plugin in found.get("plugins") or []:
        _text(plugin, "name"), _texts(plugin, "offers"), mapping(plugin)["package"]
    return found


def below_nothing(summary: Mapping[str, float]) -> str | None:
    """The first number of a summary that can be no such number: a count, a size or a time below 0."""
    # A share may be a last bit below 0 by rounding; what has no upper end is counted.
    counted = {one.name for one in all_metrics() if one.bounds[0] >= 0 and math.isinf(one.bounds[1])}
    return next((name for name, value in summary.items() if value < 0 and (name in counted or _counts(name))), None)


def _counts(name: str) -> bool:
    parts = name.split("_")
    sizes = {"texts", "flops", "bytes", "seconds", "joules", "parameters", "share"}
    # The ends of a wide interval may lie below 0, as those of a time that few passes measured.
    return parts[-1] not in {"low", "high"} and "overhead" not in parts and not sizes.isdisjoint(parts)


def _part(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e-6 <= value <= 1 + 1e-6:
        raise ValueError(f"{value!r} is no number in [0, 1]")
    return float(value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{value!r} are no seconds")
    return float(value)


def _probability(record: Any, name: str) -> float:
    value = number(record, name)
    if not math.isnan(value) and not 0 <= value <= 1:
        raise ValueError(f"`{name}` is {value:g}, expected a probability")
    return value


def _text(record: Any, name: str) -> str:
    value = mapping(record).get(name)
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is {value!r}, expected a text")
    return value


def _reason(error: Exception) -> str:
    """Shorten an error to one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, RecursionError):
        text = "it is nested too deeply"
    return text if len(text) <= 160 else f"{text[:159]}…"
