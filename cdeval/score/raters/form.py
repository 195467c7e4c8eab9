"""The files that raters judge pairs in: an HTML form, and a CSV file for spreadsheets.

The form asks, remembers and saves votes without a server or any request. Texts reach it as text nodes: none is read as
HTML (`cdeval.report.rendering`). Votes are kept in the browser's localStorage as they are given, and saved as a JSON
file for `votes=`. In the CSV file no cell is a formula.
"""

import csv
import io

from cdeval.report.rendering import render
from cdeval.score.raters.pairs import Sheet
from cdeval.store.escaping import spreadsheet

COLUMNS = ("pair", "prompt", "left", "right", "vote", "rater")


def to_html(sheet: Sheet, question: str) -> str:
    """Write the form. It holds codes, prompts and texts, and nothing that says who wrote which."""
    pairs = [{"code": one.code, "prompt": one.prompt, "left": one.left, "right": one.right} for one in sheet.pairs]
    return render(
        "score/raters/form.html.j2",
        style="score/raters/form.css",
        scripts=("score/raters/form.js",),
        data={"sheet": sheet.digest, "pairs": pairs},
        question=question,
    )


def to_csv(sheet: Sheet) -> str:
    """Write one pair a line, with empty cells for the vote (left, right or tie) and the rater's name."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for pair in sheet.pairs:
        writer.writerow([pair.code, *(spreadsheet(text) for text in (pair.prompt, pair.left, pair.right)), "", ""])
    return out.getvalue()
