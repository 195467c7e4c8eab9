"""What is chosen by: worked out part by part, and never run."""

import math

import numpy as np
import pytest

from cdeval.errors import ConfigError
from cdeval.tune.criterion import metrics_used, read_criterion

KNOWN = {"diversity": 1, "coherence": 1, "rep_4": -1, "words": 0}
NUMBERS = {
    "diversity": np.array([0.5, 0.9, np.nan]),
    "coherence": np.array([0.6, 0.3, 0.5]),
    "rep_4": np.array([0.1, 0.0, 0.2]),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("diversity", [0.5, 0.9, math.nan]),
        ("diversity*coherence", [0.3, 0.27, math.nan]),
        ("-rep_4", [-0.1, 0.0, -0.2]),
        ("2*(diversity+coherence)/4 - 1", [-0.45, -0.4, math.nan]),
        ("coherence**2", [0.36, 0.09, 0.25]),
        ("min(coherence, 1 - rep_4)", [0.6, 0.3, 0.5]),
        ("max(abs(-coherence), .5)", [0.6, 0.5, 0.5]),
        ("sqrt(exp(log(coherence)))**2", [0.6, 0.3, 0.5]),
        ("1 / rep_4", [10, math.nan, 5]),
    ],
)
def test_an_expression_over_metrics(text: str, expected: list[float]) -> None:
    assert read_criterion(text, {}, KNOWN).of(NUMBERS) == pytest.approx(expected, nan_ok=True)


def test_too_little_of_another_metric_is_no_value() -> None:
    criterion = read_criterion("diversity", {"coherence": 0.6, "words": 10}, KNOWN)
    assert criterion.metrics == ["diversity", "coherence", "words"]
    assert str(criterion) == "diversity with coherence at least 0.6 and words at least 10"
    words = {"words": np.array([10.0, 10.0, 10.0])}
    assert criterion.of({**NUMBERS, **words}) == pytest.approx([0.5, math.nan, math.nan], nan_ok=True)
    unknown = {"words": np.full(3, math.nan)}
    assert np.isnan(criterion.of({**NUMBERS, **unknown})).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diversty", r"criterion=diversty: diversty is no metric\. Did you mean 'diversity'"),
        ("1 + 2", "names no metric"),
        ("rep_4", "of rep_4 less is better: use -rep_4"),
        ("diversity *", "cannot be read"),
        ("", "cannot be read"),
        ("__import__('os').system('true')", "is nothing that a criterion may have"),
        ("diversity.real", "is nothing that a criterion may have"),
        ("diversity if coherence else 0", "is nothing that a criterion may have"),
        ("[diversity][0]", "is nothing that a criterion may have"),
        ("True * diversity", "is nothing that a criterion may have"),
        ("min(diversity)", "min takes 2 values"),
        ("log", "log is a function"),
        ("+".join(["diversity"] * 200), "of at most 1000"),
        ("-" * 900 + "diversity", None),
    ],
)
def test_anything_else_is_refused(text: str, message: str | None) -> None:
    if message is None:  # deep, and right: an even number of signs
        assert read_criterion(text, {}, KNOWN).of(NUMBERS)[0] == 0.5
        return
    with pytest.raises(ConfigError, match=message):
        read_criterion(text, {}, KNOWN)


def test_a_metric_that_is_not_computed_is_named() -> None:
    with pytest.raises(ConfigError, match=r"at_least\.word: word is no metric"):
        read_criterion("diversity", {"word": 1}, KNOWN)
    criterion = read_criterion("diversity*coherence", {}, KNOWN)
    assert metrics_used(criterion, ["diversity", "coherence"]) == ["diversity", "coherence"]
    with pytest.raises(ConfigError, match=r"coherence is not computed: add coherence to metrics\.only"):
        metrics_used(criterion, ["diversity"])
