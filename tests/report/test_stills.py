"""Names in pictures for papers, measured as they are drawn: on no point, on no other name, inside the axes."""

from typing import Any

from matplotlib.transforms import Bbox

from cdeval.report.charts import GREY, Chart, Series
from cdeval.report.stills import drawn


def points(*found: tuple[str, float, float]) -> Chart:
    """A chart of named points, with intervals, as of quality by quality."""
    names, across, up = zip(*found, strict=True)
    low, high = [y - 0.03 for y in up], [y + 0.03 for y in up]
    series = Series("early exit as amateur", across, up, low, high, names=names)
    human = Series("human", [], [0.56], color=GREY, dash="dot")
    return Chart("coherence-by-diversity", "title", "points", "diversity", "coherence", [series], [human])


def placed(chart: Chart) -> tuple[Any, dict[str, Bbox]]:
    (axes,) = drawn([chart]).axes
    return axes, {word.get_text(): word.get_window_extent() for word in axes.texts}


def test_a_name_lies_on_no_point() -> None:
    """As in docs/study-first.md: the chosen exit's long name ran through the point to its left."""
    chosen = "early_exit k=26 linear lens α=0.3 β=1 T=0.5, beam 5"
    found = [("early_exit k=26 α=0.3 β=1 T=0.5, beam 5", 0.22, 0.453), ("greedy", 0.41, 0.45), (chosen, 0.74, 0.44)]
    found += [("expert beam 5", 0.05, 0.488), ("expert nucleus p=.95", 0.97, 0.362), ("expert top-k 5", 0.71, 0.486)]
    axes, names = placed(points(*found))
    assert set(names) == {name for name, _, _ in found}, "there is room for all of them"
    marker = 3 * axes.figure.dpi / 72  # half of it
    for own, box in names.items():
        for other, across, up in found:
            x, y = axes.transData.transform((across, up))
            assert not box.overlaps(Bbox.from_bounds(x - marker, y - marker, 2 * marker, 2 * marker)), (own, other)
        assert not any(box.overlaps(more) for other, more in names.items() if other != own), own
        assert axes.get_window_extent().contains(*box.min), own
        assert axes.get_window_extent().contains(*box.max), own


def test_names_without_room_are_left_to_the_table() -> None:
    crowd = [(f"a long name of arm {number}", 0.5 + 0.001 * number, 0.45) for number in range(30)]
    _, names = placed(points(*crowd))
    assert 0 < len(names) < 10
