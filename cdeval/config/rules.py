"""Settings of cdeval's own rules of plausibility, which the group `contrast` has beside those of the contrast."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from cdeval.config.enums import TopHForm
from cdeval.config.fields import number
from cdeval.config.methods import of_methods

MOST_VOCABULARY = 10_000_000
_OWNED_BY = "rule"  # in a field's metadata: the name of the rule that reads it


def of_rule(rule: str, one: Any) -> Any:
    """Make a field that is read and written down under one rule alone."""
    owned = of_methods(one, "contrast.plausibility", "plausibility", rule)
    return field(default=owned.default, metadata={**owned.metadata, _OWNED_BY: rule})


@dataclass
class RuleConfig:
    """The numbers of the rules; `cdeval.decode.plausibility` has a file with the definition and source of each."""

    min_p: float = of_rule("min_p", number(0.1, least=0, open_least=True, most=1, hint="0.05 to 0.1 are usual"))
    # Standard deviations below the largest logit.
    n_sigma: float = of_rule("top_n_sigma", number(1.0, least=0, open_least=True, most=100, hint="1 is usual"))
    # The relaxed variant, p-less-norm.
    p_less_norm: bool = of_rule("p_less", field(default=False))
    # Share of the entropy that is kept.
    h: float = of_rule("top_h", number(0.4, least=0, open_least=True, most=1, hint="0.3 to 0.6 are usual"))
    top_h_form: TopHForm = of_rule("top_h", field(default=TopHForm.cumulative))
    # At least τ / (largest - smallest logit) tokens, for distributions that are nearly flat.
    min_k_tau: float = of_rule("min_k", number(3.0, least=0, most=1000, hint="3 is the published value"))
    top_k: int = of_rule("top_k", number(50, least=1, most=MOST_VOCABULARY))  # the likeliest tokens that are kept
    # The mass of the nucleus.
    top_p: float = of_rule(
        "nucleus", number(0.95, least=0, open_least=True, most=1, open_most=True, hint="0.95 is usual")
    )
    # The mass of the typical tokens.
    typical_p: float = of_rule(
        "typical", number(0.95, least=0, open_least=True, most=1, open_most=True, hint="0.95 is usual")
    )
    # ε of eta sampling.
    eta: float = of_rule(
        "eta", number(0.0003, least=0, open_least=True, most=1, open_most=True, hint="0.0003 to 0.004 are usual")
    )


def settings_of(rule: str) -> Mapping[str, Field[Any]]:
    """Name the settings of one of cdeval's own rules, with their fields."""
    return {one.name: one for one in fields(RuleConfig) if one.metadata[_OWNED_BY] == rule}
