"""Long work says how far it is, short work says nothing."""

from collections.abc import Callable

from cdeval.config.exits import Lens
from cdeval.lens.loops import margins
from cdeval.lens.measure import measure
from cdeval.lens.reading import Contrast, View
from cdeval.models.loading import LanguageModel

TEXTS = [[5 + number, 17, 40, 8, 77, 12] for number in range(20)]
CONTRAST = Contrast(0.5, 1.0, 2.0)


def test_measuring_and_margins_say_how_far_they_are(
    seconds: Callable[[float], None], tiny: Callable[[str], LanguageModel]
) -> None:
    """Kills: minutes without a word after the last step of training."""
    seconds(3.0)
    lines: list[str] = []
    measure(tiny("gpt2"), TEXTS, [View(2, Lens.norm)], 50, CONTRAST, lines.append)
    assert lines[0] == "measured position 5 of 50; 27 s left"
    assert "measured position 50 of 50; 0 s left" in lines
    assert lines[-1] == "margins of passage 20 of 20; 0 s left", "measuring takes the margins, too"
    lines.clear()
    margins(tiny("gpt2"), TEXTS, [(View(2, Lens.norm), CONTRAST)], 0, lines.append)
    assert len(lines) == 10
