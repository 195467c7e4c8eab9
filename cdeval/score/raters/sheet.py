"""The pairs as CSV, for a spreadsheet. Texts of models are data there, too: no cell is a formula."""

import csv
import io

from cdeval.score.raters.pairs import Sheet
from cdeval.store.escaping import spreadsheet

COLUMNS = ("pair", "prompt", "left", "right", "vote", "rater")


def to_csv(sheet: Sheet) -> str:
    """One pair a line, with empty cells for the vote (left, right or tie) and the rater's name."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for pair in sheet.pairs:
        writer.writerow([pair.code, *(spreadsheet(text) for text in (pair.prompt, pair.left, pair.right)), "", ""])
    return out.getvalue()
