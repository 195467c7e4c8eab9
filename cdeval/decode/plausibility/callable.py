"""A rule of plausibility that a Python caller gives as a callable, for the time of one call (`cdeval.api.decode`)."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, TypeAlias

from torch import Tensor

from cdeval.config.methods import Origin, Values
from cdeval.config.plausibility import RULES
from cdeval.config.schema import ContrastConfig
from cdeval.decode.plausibility.plugin import PluginRule
from cdeval.errors import ConfigError, ModelError

Rule: TypeAlias = Callable[[Tensor], Tensor]  # of the expert's log-probabilities
_NUMBERS = count(1)  # calls in several threads may give rules that are called alike


class CallableRule(PluginRule):
    """A rule by an object that is called with the expert's log-probabilities alone."""

    def __init__(self, code: Callable[..., Any]) -> None:
        """Name the rule by the callable; nothing of it is written down, so it may be of no file."""
        self._title = getattr(code, "__qualname__", type(code).__name__)
        self.name = f"{self._title} (rule {next(_NUMBERS)})"
        self.settings = {}
        self.origin = Origin(getattr(code, "__module__", "") or "", _place(code), "")
        self._given = code
        self._code = self._by_position

    def _by_position(self, log_expert: Tensor) -> object:
        """Call it, whatever its argument is called."""
        return self._given(log_expert)

    def label(self, settings: Values) -> str:
        """Name the rule for readers."""
        return self._title

    def failure(self, setting: str, problem: str) -> ModelError:
        """Make the error of a callable that broke."""
        where = self.origin.where if self.origin is not None else ""
        return ModelError(f"rule={self._title}{where and f' ({where})'} {problem}.")


@contextmanager
def rule_of(code: object, contrast: Any) -> Iterator[Any]:
    """Make settings whose rule is a callable, inside the `with` block.

    Args:
        code: the callable; None: the rule is the one that the settings name.
        contrast: the other settings, a `ContrastConfig`; None: the usual ones.

    Raises: ConfigError: it is no callable, or the settings name another rule.
    """
    if code is None:
        yield contrast
        return
    if not callable(code):
        raise ConfigError(
            f"rule={code!r}: expected a callable that takes the expert's log-probabilities."
            " A rule by its name is contrast=Contrast(plausibility='min_p')."
        )
    if not isinstance(contrast, ContrastConfig | None):
        yield contrast  # the check of all arguments says what is wrong with it
        return
    if contrast is not None and contrast.plausibility is not None:
        raise ConfigError(
            f"rule and contrast.plausibility={contrast.plausibility} are two rules of plausibility: leave one out."
        )
    rule = CallableRule(code)
    with RULES.lent(rule):
        yield replace(contrast or ContrastConfig(), plausibility=rule.name)


def _place(code: object) -> str:
    """The line of a function or class; empty where it has none, as of what was typed at a prompt."""
    try:
        known = code if inspect.isroutine(code) or inspect.isclass(code) else type(code)
        return f"{inspect.getsourcefile(known) or ''}:{inspect.getsourcelines(known)[1]}"
    except (OSError, TypeError):
        return ""
