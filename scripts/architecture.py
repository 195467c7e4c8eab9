"""Draws docs/architecture.svg, the rooms of cdeval and who imports whom, from the imports themselves.

    python scripts/architecture.py            draw it anew
    python scripts/architecture.py --check    exit with 1 where the picture no longer is what the imports say

A room stands one row above the highest that it imports. An arrow leads to a room that is imported; where other arrows
lead there as well, by way of another room, it is left out.
"""

import argparse
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from house import ROOT, chains, rooms

PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, ROW, HEIGHT, BOX = 900, 84, 34, 110  # of the picture, of a row, of a box, of a box with a short name [pixels]
STYLE = """
  text { font: 14px sans-serif; text-anchor: middle; fill: #222 }
  rect { fill: #eef3fa; stroke: #4a6a94; rx: 6 }
  path { fill: none; stroke: #8a97a8; marker-end: url(#tip) }
"""


def direct(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that no chain of other imports stands for, in alphabetical order."""

    def reached(room: str) -> set[str]:
        return graph[room].union(*(reached(other) for other in graph[room]))

    return [
        (room, other)
        for room in sorted(graph)
        for other in sorted(graph[room])
        if not any(other in reached(between) for between in graph[room] - {other})
    ]


def places(graph: dict[str, set[str]]) -> dict[str, tuple[float, float]]:
    """Where the middle of each room's box lies; the rooms of a row stand near what they import, to cross few arrows."""
    floor = {room: len(chain) for room, chain in chains(graph).items()}
    top = max(floor.values())
    found: dict[str, tuple[float, float]] = {}
    for level in range(1, top + 1):

        def middle(room: str) -> tuple[float, str]:
            below = [found[other][0] for other in graph[room]]
            return (sum(below) / len(below) if below else 0.0, room)

        row = sorted((room for room in graph if floor[room] == level), key=middle)
        for number, room in enumerate(row, 1):
            found[room] = (round(WIDTH * number / (len(row) + 1), 1), (top - level + 0.5) * ROW)
    return found


def picture(graph: dict[str, set[str]]) -> str:
    """The SVG, the same to the letter for the same imports."""
    at = places(graph)
    height = ROW * max(map(len, chains(graph).values()))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The rooms of cdeval: an arrow leads to what a room imports</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" style="fill: #8a97a8; stroke: none; marker-end: none"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" style="fill: #fff; stroke: none"/>',
    ]
    for room, other in direct(graph):
        (x, y), (to_x, to_y) = at[room], at[other]
        start, end = y + HEIGHT / 2, to_y - HEIGHT / 2
        lines.append(f'<path d="M{x:g} {start:g}C{x:g} {start + 25:g} {to_x:g} {end - 25:g} {to_x:g} {end:g}"/>')
    for room, (x, y) in sorted(at.items()):
        lines.append(f'<rect x="{x - BOX / 2:g}" y="{y - HEIGHT / 2:g}" width="{BOX}" height="{HEIGHT}"/>')
        lines.append(f'<text x="{x:g}" y="{y + 5:g}">{escape(room)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> int:
    """Draw the picture, or check it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the picture is out of date")
    drawn = picture(rooms(ROOT / "cdeval"))
    if parser.parse_args().check:
        if PICTURE.is_file() and PICTURE.read_text("utf-8") == drawn:
            return 0
        sys.stderr.write("docs/architecture.svg is not what the imports say: run python scripts/architecture.py\n")
        return 1
    PICTURE.write_text(drawn, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
