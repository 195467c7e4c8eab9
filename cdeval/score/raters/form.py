"""The pairs as one HTML file that asks, remembers and saves votes: no server, and no request to anybody.

A content security policy forbids every request and every script but the page's own, by its hash. Texts travel as JSON
in which no tag can open or close, and reach the page as text nodes: a text is never read as HTML. Votes are kept in the
browser's localStorage as they are given, and saved as a JSON file for `votes=`.
"""

import base64
import hashlib
import html
import json
from importlib.resources import files

from cdeval.score.raters.pairs import Sheet
from cdeval.store.private import masked, masked_all


def to_html(sheet: Sheet, question: str) -> str:
    """The form. It holds codes, prompts and texts, and nothing that says who wrote which."""
    here = files("cdeval.score.raters")
    script = (here / "form.js").read_text(encoding="utf-8")
    style = (here / "form.css").read_text(encoding="utf-8")
    data = {
        "sheet": sheet.digest,
        "pairs": [
            {"code": pair.code, "prompt": pair.prompt, "left": pair.left, "right": pair.right} for pair in sheet.pairs
        ],
    }
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'"
    return _PAGE.format(
        policy=html.escape(policy),
        style=style,
        question=html.escape(masked(question)),
        data=_harmless(json.dumps(masked_all(data))),
        script=script,
    )


def _harmless(text: str) -> str:
    """JSON without the signs that could end its element; inside JSON strings their escapes mean the same."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Which continuation is better?</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{question}</h1>
<p><label>Your name or initials <input id="rater" autocomplete="off" maxlength="60"></label>
<span id="progress" role="status" aria-live="polite"></span></p>
</header>
<main>
<h2>Beginning</h2>
<p class="text" id="prompt"></p>
<div class="sides">
<section aria-labelledby="left-title"><h2 id="left-title">Left</h2><p class="text" id="left"></p></section>
<section aria-labelledby="right-title"><h2 id="right-title">Right</h2><p class="text" id="right"></p></section>
</div>
<div class="buttons" role="group" aria-label="Your vote">
<button type="button" data-vote="left" aria-pressed="false">Left is better <kbd>1</kbd></button>
<button type="button" data-vote="tie" aria-pressed="false">No difference <kbd>2</kbd></button>
<button type="button" data-vote="right" aria-pressed="false">Right is better <kbd>3</kbd></button>
</div>
<div class="buttons">
<button type="button" id="back">Back <kbd>b</kbd></button>
<button type="button" id="next">Next <kbd>n</kbd></button>
<button type="button" id="save">Save the votes as a file <kbd>s</kbd></button>
</div>
<p id="message" role="alert"></p>
</main>
<noscript><p>This form needs JavaScript; the CSV file beside it does not.</p></noscript>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
