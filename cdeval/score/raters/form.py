"""The pairs as one HTML file that asks, remembers and saves votes: no server, and no request to anybody.

Texts reach the page as text nodes: none is read as HTML (`cdeval.report.rendering`). Votes are kept in the browser's
localStorage as they are given, and saved as a JSON file for `votes=`.
"""

from cdeval.report.rendering import render
from cdeval.score.raters.pairs import Sheet


def to_html(sheet: Sheet, question: str) -> str:
    """The form. It holds codes, prompts and texts, and nothing that says who wrote which."""
    pairs = [{"code": one.code, "prompt": one.prompt, "left": one.left, "right": one.right} for one in sheet.pairs]
    return render(
        "score/raters/form.html.j2",
        style="score/raters/form.css",
        scripts=("score/raters/form.js",),
        data={"sheet": sheet.digest, "pairs": pairs},
        question=question,
    )
