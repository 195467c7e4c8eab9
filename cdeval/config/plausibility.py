"""Rules of plausibility, which say which of the expert's tokens may be chosen at all, and their settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdeval.config.methods import Method, Registry, Values, holds_methods, named
from cdeval.config.schema import ContrastConfig


@dataclass(frozen=True, slots=True)
class Plausibility:
    """The name of a rule, and its settings."""

    rule: str
    settings: Values = ()


ALPHA = Plausibility("alpha")  # whose threshold is `contrast.alpha`


class PlausibilityRule(Method):
    """One rule. A rule of ours or of a plug-in is a subclass in one file."""

    keeps_likeliest = True  # the likeliest token of each row stays plausible, whatever the rule says

    def opened(self, lanes: Sequence[Mapping[str, Any]], device: Any) -> Callable[[Any], Any]:
        """Take the settings of all lanes of a batch that have this rule; called once, before the first step.

        Args:
            lanes: the rule's own settings by name, one mapping a lane.
            device: where the log-probabilities will be.

        Returns: a function that is called at every step. It takes these lanes' log-probabilities of the expert
            [lane, beam, vocab] in nats, tokens that cannot be said at -inf, and returns truth values of the same
            shape: which tokens are implausible. What it says of impossible tokens does not count.
        """
        raise NotImplementedError

    def label(self, settings: Values) -> str:
        """Name the rule for readers in a few words."""
        return named(self.name, settings)


RULES: Registry[PlausibilityRule] = Registry("contrast.plausibility", "cdeval.decode.plausibility")
holds_methods(RULES, "plausibility")(ContrastConfig)


def plausibility_of(config: ContrastConfig, *, contrasted: bool) -> Plausibility:
    """Read the rule that the configuration asks for.

    Args:
        config: the settings of the contrast.
        contrasted: whether there is an amateur. Without one, alpha is asked for by name only, and is min-p.

    Returns: the rule; alpha where none is named, which no text without an amateur is made by.

    Raises: ConfigError: there is none of that name.
    """
    if config.plausibility == ALPHA.rule and not contrasted:
        return Plausibility("min_p", (("min_p", config.alpha),))
    if config.plausibility in (None, ALPHA.rule):
        return ALPHA
    return Plausibility(config.plausibility, RULES[config.plausibility].values(config))
