"""The pairs as CSV, for a spreadsheet. Texts of models are data there, too: no cell is a formula."""

import csv
import io

from cdeval.raters.pairs import Sheet

COLUMNS = ("pair", "prompt", "left", "right", "vote", "rater")
# What makes a spreadsheet read a cell as a formula (OWASP, "CSV Injection"), full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def to_csv(sheet: Sheet) -> str:
    """One pair a line, with empty cells for the vote (left, right or tie) and the rater's name."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for pair in sheet.pairs:
        writer.writerow([pair.code, *(guarded(text) for text in (pair.prompt, pair.left, pair.right)), "", ""])
    return out.getvalue()


def guarded(text: str) -> str:
    """The text behind an apostrophe where a spreadsheet would calculate it; leading blanks do not hide a formula.

    >>> guarded("=1+1"), guarded("a=b")
    ("'=1+1", 'a=b')
    """
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text
