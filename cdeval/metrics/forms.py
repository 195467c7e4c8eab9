"""Numbers as text in tables."""

import math
import re
from collections.abc import Callable
from typing import TypeAlias

Form: TypeAlias = Callable[[float], str]


def whole(value: float) -> str:
    """Write a number without decimals."""
    return f"{value:.0f}"


def decimals(digits: int) -> Form:
    """Make the form with that many decimals."""
    return lambda value: f"{value:.{digits}f}"


def fraction(digits: int) -> Form:
    """Make the form with decimals as printed in papers: .862, without a zero before the point."""
    return lambda value: re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")


def significant(digits: int, unit: float = 1.0) -> Form:
    """Make the form with that many significant digits, in full unless the number is huge or tiny."""

    def form(value: float) -> str:
        scaled = value / unit
        if scaled and not 1e-3 <= abs(scaled) < 1e6:
            return f"{scaled:.{digits - 1}e}"
        exponent = math.floor(math.log10(abs(scaled))) if scaled else 0
        return f"{scaled:.{max(0, digits - 1 - exponent)}f}"

    return form
