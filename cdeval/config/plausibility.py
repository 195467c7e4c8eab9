"""Rules of plausibility, which say which of the expert's tokens may be chosen at all, and their settings."""

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

    def plausible(self, log_expert: Any, **settings: Any) -> Any:
        """Mark the plausible tokens.

        Args:
            log_expert: the expert's log-probabilities [lane, beam, vocab] in nats; banned tokens at -inf.
            settings: the rule's own.

        Returns: truth values of the same shape. The likeliest token of each row is plausible whatever they say.
        """
        raise NotImplementedError

    def label(self, settings: Values) -> str:
        """Name the rule for readers in a few words."""
        return named(self.name, settings)


RULES: Registry[PlausibilityRule] = Registry("contrast.plausibility", "cdeval.decode.plausibility")
holds_methods(RULES, "plausibility")(ContrastConfig)


def plausibility_of(config: ContrastConfig) -> Plausibility:
    """Read the rule that the configuration asks for. Raises: ConfigError: there is none of that name."""
    if config.plausibility == ALPHA.rule:
        return ALPHA
    return Plausibility(config.plausibility, RULES[config.plausibility].values(config))
