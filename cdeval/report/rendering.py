"""Every page and form of cdeval, from Jinja2 templates: one HTML file that holds all it shows and requests nothing.

Each value is masked (`cdeval.store.private`) and escaped where it enters a page, and a name that a template does not
get is an error. A content security policy forbids every request and all scripts but plotly's and the page's own, which
it names by their hashes. Data travel as JSON in which no tag can open or close.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from cdeval.store.private import masked, masked_all

PLOTLY = "plotly.js"  # stands for the script that the package plotly brings along
STYLE = "report/templates/base.css"


def render(template: str, *, style: str = STYLE, scripts: Sequence[str] = (), data: Any = None, **values: Any) -> str:
    """Render one page. Files are named from the package's folder on, such as "lens/page.html.j2".

    Args:
        template: the page's own, which extends `report/templates/base.html.j2`.
        style: its style sheet.
        scripts: what it runs, in this order and as one script; PLOTLY, where it draws, is one before them.
        data: what its scripts read, in JSON's types and without NaN.
        values: what the template names: texts and numbers, of which none is taken for HTML.

    Returns: the page as HTML.
    """
    own = Markup("\n").join(_file(name) for name in scripts if name != PLOTLY)
    sheet, codes = _file(style), [*([_plotly()] if PLOTLY in scripts else []), *([own] if own else [])]
    script_sources = " ".join(map(_hash, codes)) or "'none'"
    style_sources = "'unsafe-inline'" if PLOTLY in scripts else _hash(sheet)  # plotly styles single elements
    policy = (
        f"default-src 'none'; script-src {script_sources}; style-src {style_sources}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    shared = {"policy": policy, "style": sheet, "scripts": codes, "data": masked_all(data)}
    return _ENVIRONMENT.get_template(template).render(shared | values)


def _plotly() -> Markup:
    return Markup(get_plotlyjs().replace("\r\n", "\n"))  # noqa: S704 - ours; line ends as a browser hashes them


def _file(name: str) -> Markup:
    return Markup((files("cdeval") / name).read_text(encoding="utf-8"))  # noqa: S704 - ours


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _masked(value: object) -> str:
    return value if isinstance(value, Markup) else masked(str(value))


_ENVIRONMENT = Environment(
    loader=PackageLoader("cdeval", ""),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_masked,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
