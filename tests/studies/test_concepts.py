"""The worked example of docs/concepts.md is what the engine computes."""

import math
import re
from pathlib import Path

import pytest
import torch

from cdeval.decode.objective import contrast, objective_settings
from tests.decode.oracles import early_exit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts.md"
ROWS = [
    [cell.strip().strip("*") for cell in row.strip("|").split("|")]
    for row in re.findall(r"^\| (?:the|Paris|a|qua) \|.*$", PAGE.read_text("utf-8"), re.MULTILINE)
]


def number(cell: str) -> float:
    return -math.inf if cell == "−∞" else float(cell.replace("−", "-"))


def test_both_columns_are_distributions() -> None:
    assert len(ROWS) == 4
    for column in (1, 2):
        assert sum(number(row[column]) for row in ROWS) == pytest.approx(1)


@pytest.mark.parametrize(("column", "beta", "temperature"), [(4, 1.0, 1.0), (5, 0.5, 1.0), (6, 1.0, 2.0)])
def test_the_scores_are_the_engines(column: int, beta: float, temperature: float) -> None:
    expert, amateur = (torch.tensor([[[number(row[of]) for row in ROWS]]]).log() for of in (1, 2))
    setting = early_exit(1, alpha=0.2, beta=beta, temperature=temperature)
    scores = contrast(expert, amateur, objective_settings([setting], torch.device("cpu")))[0, 0]
    assert scores.tolist() == pytest.approx([number(row[column]) for row in ROWS], abs=0.0051)
    assert [row[3].startswith("yes") for row in ROWS] == torch.isfinite(scores).tolist()


def test_the_mask_is_what_the_page_says_it_is() -> None:
    """Without it the token that neither model believes in would win."""
    expert, amateur = (torch.tensor([[[number(row[of]) for row in ROWS]]]).log() for of in (1, 2))
    scores = contrast(
        expert, amateur, objective_settings([early_exit(1, alpha=1e-6, beta=1.0, temperature=1.0)], expert.device)
    )
    assert ROWS[int(scores.argmax())][0] == "qua"
    assert float(scores.max()) == pytest.approx(2.30, abs=0.005)
