"""One HTML file that holds everything it shows, and a policy that forbids every request.

Only plotly's and the page's own script run, by their hashes; the style of single elements is plotly's to set, hence
`unsafe-inline` for styles alone. Data travel as JSON in which no tag can open or close. No page names the home folder.
"""

import base64
import hashlib
import html
import json
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple

from plotly.offline import get_plotlyjs

from cdeval.store.private import masked, masked_all


class Body(NamedTuple):
    """What a page says; all but the headline and title are HTML, whose texts are escaped by whoever made it."""

    title: str
    eyebrow: str
    headline: str
    more: str
    nav: str
    main: str


_WITHOUT = (
    '<noscript><p class="note">Pictures and texts need JavaScript; the tables do not. The pictures also lie beside '
    "this page as PNG.</p></noscript>"
)


def document(body: Body, data: Any = None, script: str | None = None) -> str:
    """The page.

    Args:
        body: its texts.
        data: what the script draws, as JSON types without NaN.
        script: name of its script, beside this module; None: a page that only stands there, and may run nothing.
    """
    here = files("cdeval.report")
    body = Body(*map(masked, body))
    sources, scripts = "'none'", ""
    if script is not None:
        own = (here / script).read_text(encoding="utf-8")
        plotly = get_plotlyjs().replace("\r\n", "\n")  # as a browser reads it, before it takes the hash
        held = _harmless(json.dumps(masked_all(data), allow_nan=False, separators=(",", ":")))
        sources = f"'{_hash(plotly)}' '{_hash(own)}'"
        scripts = (
            f'<script type="application/json" id="data">{held}</script>\n<script>{plotly}</script>\n'
            f"<script>{own}</script>"
        )
    template, style = ((here / name).read_text(encoding="utf-8") for name in ("page.html", "page.css"))
    return Template(template).substitute(
        policy=html.escape(
            f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        title=html.escape(body.title),
        style=style,
        eyebrow=html.escape(body.eyebrow),
        verdict=html.escape(body.headline),
        more=body.more,
        nav=f'<nav aria-label="Sections">{body.nav}</nav>' if body.nav else "",
        without=_WITHOUT if script is not None else "",
        main=body.main,
        scripts=scripts,
    )


def _harmless(text: str) -> str:
    """JSON without the signs that could end its element; inside JSON strings their escapes mean the same."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
