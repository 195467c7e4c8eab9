"""The picture of a prompt: every cell and bar is there, and tokens are no markup."""

import html
import json
import re
from pathlib import Path

import plotly.graph_objects as go

from cdeval.lens.page import shown, write_trajectory
from cdeval.records import Trajectory

NASTY = "</script><b>$x"
FOUND = Trajectory(
    tokens=("A", NASTY),
    layers=(1, 2, 3),
    lens="norm",
    top=(("x", "y"), ("x", " z"), ("x", " z")),
    probability=((0.1, 0.2), (0.3, 0.4), (0.5, 0.6)),
    entropy=((3.0, 3.0), (2.0, 2.0), (1.0, 1.0)),
    kl=((2.0, 2.0), (1.0, 1.0), (0.0, 0.0)),
    candidates=(" z", "y"),
    followed=((0.1, 0.2), (0.4, 0.1), (0.6, 0.1)),
)


def test_page_and_picture(tmp_path: Path) -> None:
    page, picture = write_trajectory(FOUND, tmp_path / "lens" / "p.html")
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    assert "from layer 2 of 3 on it is every layer's first choice" in html.unescape(text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, flags=re.DOTALL)[1])
    for name, heat in data["heat"].items():
        go.Figure(heat)
        assert heat["data"][0]["z"] == [list(row) for row in getattr(FOUND, name)]
        assert heat["data"][0]["y"] == ["1", "2", "expert"]
    go.Figure(data["bars"])
    assert [bar["y"] for bar in data["bars"]["data"]] == [[0.1, 0.4, 0.6], [0.2, 0.1, 0.1]]
    assert "<b>$x" not in text


def test_tokens_show_their_spaces_and_stay_short() -> None:
    assert [shown(token) for token in (" a", "\n", "\x1b", "abcdefghijklmnop")] == ["▁a", "⏎", "�", "abcdefghijk…"]
