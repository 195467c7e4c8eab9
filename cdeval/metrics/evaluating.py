"""Each metric's file is an `evaluate.Metric` too: `evaluate.load("cdeval/metrics/diversity.py")`, without a network.

`evaluate` copies a metric's file, imports the copy, and takes the first subclass of its `EvaluationModule` there. So a
metric's file ends with

    Module = offer(__name__, __doc__, compute)

which is a class in evaluate's copy only. In `import cdeval.metrics.diversity` it is None, and neither evaluate nor the
seconds that its import takes are needed. The copy imports cdeval, which must be installed.

Metrics that ask a model take its name as an option of `compute` (a folder, a hub id, or an embedded one, which is the
default); one that cannot be found or read raises what the commands print, a `CdevalError`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from cdeval.errors import ConfigError, did_you_mean
from cdeval.records import Generation

_COPIES = "evaluate_modules"  # the package that evaluate puts its copies in

Choice = TypeVar("Choice", bound=Enum)

# Every argument without a default is a column of texts; the others are options of `compute`.
Compute = Callable[..., Mapping[str, float]]


def offer(module: str, doc: str | None, compute: Compute) -> type | None:
    """The metric as a class for evaluate, or None where it is not evaluate that imports the file.

    Args:
        module: the file's `__name__`.
        doc: its docstring, which becomes the description.
        compute: columns of texts (one list each, equally long), then options with defaults; returns names and numbers.
            A number without a value is NaN. Columns are given to evaluate by name; the first is called predictions.
    """
    return as_metric(doc, compute) if is_copy(module) else None


def is_copy(module: str) -> bool:
    """Whether a module, by its `__name__`, is evaluate's copy of a metric's file."""
    return module.partition(".")[0] == _COPIES


def choice_of(kind: type[Choice], option: str, given: str) -> Choice:
    """An option's value by its name. Raises: ConfigError: there is none of that name."""
    if given not in kind.__members__:
        raise ConfigError(f"{option}={given!r}: there is no such choice. {did_you_mean(given, kind.__members__)}")
    return kind[given]


def as_generations(continuations: Sequence[str], prompts: Sequence[str] | None = None) -> list[Generation]:
    """Columns of texts as records without tokens; texts in one place are of one prompt, the empty one if none is given.

    Raises: ValueError: unequal numbers of prompts and continuations.
    """
    given = [""] * len(continuations) if prompts is None else prompts
    return [
        Generation(f"{place}", prompt, (), None, continuation, (), None, None)
        for place, (prompt, continuation) in enumerate(zip(given, continuations, strict=True))
    ]


def as_metric(doc: str | None, compute: Compute) -> type:
    """Make the `evaluate.Metric` of a metric's file. Raises: ImportError: evaluate or datasets is not installed."""
    import datasets  # noqa: PLC0415 - seconds to import, and only evaluate's users need it: the extra [evaluate]
    import evaluate  # noqa: PLC0415

    parameters = inspect.signature(compute).parameters.values()
    columns = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    description = inspect.cleandoc(doc or "")

    def info(_: Any) -> Any:
        return evaluate.MetricInfo(
            description=description,
            citation="",
            inputs_description=", ".join(columns),
            features=datasets.Features({column: datasets.Value("string") for column in columns}),
        )

    def run(_: Any, **columns_and_options: Any) -> dict[str, float]:
        return dict(compute(**columns_and_options))

    return type("Metric", (evaluate.Metric,), {"_info": info, "_compute": run, "__doc__": description})
