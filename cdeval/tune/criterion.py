"""What is chosen by: an expression over the names of metrics, and least values of others.

    criterion=diversity*coherence
    criterion=diversity at_least={coherence:0.4}

Numbers, names, + - * / **, brackets and the functions of `_FUNCTIONS`: a criterion is read as Python's grammar has it
and worked out here, part by part; nothing of it is run.
"""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdeval.errors import ConfigError, did_you_mean

Numbers = NDArray[np.float64]

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "exp": np.exp,
    "log": np.log,
    "max": np.maximum,
    "min": np.minimum,
    "sqrt": np.sqrt,
}
_MOST_SIGNS = 1000
_TWO = ("max", "min")


@dataclass(frozen=True, slots=True)
class Criterion:
    """A number that is to be as large as possible."""

    text: str
    at_least: Mapping[str, float]  # by metric
    body: ast.expr

    @property
    def metrics(self) -> list[str]:
        """The metrics that are read."""
        found = [one.id for one in ast.walk(self.body) if isinstance(one, ast.Name) and one.id not in _FUNCTIONS]
        return list(dict.fromkeys([*found, *self.at_least]))

    def __str__(self) -> str:
        """Say what is chosen by."""
        least = [f"{name} at least {value:g}" for name, value in self.at_least.items()]
        return f"{self.text}{' with ' if least else ''}{' and '.join(least)}"

    def of(self, numbers: Mapping[str, Numbers]) -> Numbers:
        """Work it out for the values of the metrics, all of one shape; NaN: there is no value, or too little of one."""
        with np.errstate(all="ignore"):
            found: Numbers = np.asarray(_worked_out(self.body, numbers), dtype=np.float64)
            shape = np.broadcast_shapes(found.shape, *(values.shape for values in numbers.values()))
            found = np.broadcast_to(found, shape).copy()
            for name, least in self.at_least.items():
                found[~(numbers[name] >= least)] = np.nan
        found[~np.isfinite(found)] = np.nan
        return found


def read_criterion(text: str, at_least: Mapping[str, float], known: Mapping[str, int]) -> Criterion:
    """Read a criterion.

    Args:
        text: the expression.
        at_least: least values, by metric.
        known: the metrics that there are, by name, each with the way that is better: 1 higher, -1 lower, 0 neither.

    Raises: ConfigError: it is no such expression, or names no metric, or another one than there is.
    """
    try:
        if len(text) > _MOST_SIGNS:
            raise ValueError(f"it has {len(text)} signs, of at most {_MOST_SIGNS}")
        body = ast.parse(text.strip(), mode="eval").body
        _check(body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(
            f"criterion={text} cannot be read: {reason}. Expected names of metrics, numbers, + - * / **, brackets and "
            f"{', '.join(_FUNCTIONS)}, as criterion=diversity*coherence."
        ) from error
    criterion = Criterion(text, dict(at_least), body)
    for name in criterion.metrics:
        if name not in known:
            where = f"at_least.{name}" if name in at_least else f"criterion={text}"
            raise ConfigError(f"{where}: {name} is no metric. {did_you_mean(name, known)}")
    if not set(criterion.metrics) - set(at_least) and not isinstance(body, ast.Name):
        raise ConfigError(f"criterion={text} names no metric: expected an expression, as diversity*coherence.")
    if isinstance(body, ast.Name) and known[body.id] < 0:
        raise ConfigError(f"criterion={text}: the largest is chosen, and of {text} less is better: use -{text}.")
    return criterion


def metrics_used(criterion: Criterion, computed: Collection[str]) -> list[str]:
    """List the metrics that are read. Raises: ConfigError: `metrics.only` leaves one out."""
    for name in criterion.metrics:
        if name not in computed:
            raise ConfigError(f"criterion={criterion.text}: {name} is not computed: add {name} to metrics.only.")
    return criterion.metrics


def _check(node: ast.expr) -> None:
    """Raises: ValueError: a part is none that a criterion may have."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return
        case ast.Name():
            if node.id in _FUNCTIONS:
                raise ValueError(f"{node.id} is a function, as {node.id}(…)")
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            _check(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            _check(left)
            _check(right)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            wanted = 2 if name in _TWO else 1
            if len(args) != wanted:
                raise ValueError(f"{name} takes {wanted} {'values' if wanted > 1 else 'value'}")
            for one in args:
                _check(one)
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is nothing that a criterion may have")


def _worked_out(node: ast.expr, numbers: Mapping[str, Numbers]) -> Any:
    match node:
        case ast.Constant(value=value):
            return np.float64(value)  # type: ignore[arg-type]  # `_check` let numbers through alone
        case ast.Name():
            return numbers[node.id]
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_worked_out(operand, numbers))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_worked_out(left, numbers), _worked_out(right, numbers))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_worked_out(one, numbers) for one in args))
    raise ValueError(ast.unparse(node))
