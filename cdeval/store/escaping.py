"""Escaping of foreign texts for a screen, a spreadsheet, Markdown and TeX.

Labels, names of models and files, prompts and continuations are data wherever they are shown. Each function takes what
its reader would obey (a terminal, a spreadsheet, Markdown, TeX) and leaves the rest of the text as it is; those whose
texts are files mask the home folder (`cdeval.store.private`) before they escape it.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from cdeval.store.private import masked

_REPLACED = "\N{REPLACEMENT CHARACTER}"
_KEPT = frozenset("\n\t")
# Signs that turn the direction of what follows, so that a reader sees another order than a program does.
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_INVISIBLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, halves of surrogate pairs, line separators

# What makes a spreadsheet read a cell as a formula (OWASP, "CSV Injection"), full-width forms included.
_FORMULA = "=+\\-@\t\r\n＝＋－＠"
_STARTS_FORMULA = re.compile(rf"[^\w!-~＝＋－＠]*[{_FORMULA}]")  # behind blanks and invisible signs, too
# A spreadsheet that separates by semicolons or tabs reads a cell of a comma-separated file as several.
_HIDDEN_FORMULA = re.compile(rf"([;\t])(\s*[{_FORMULA}])")

_TEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"α": r"$\alpha$", "β": r"$\beta$", "τ": r"$\tau$", "λ": r"$\lambda$", "×": r"$\times$", "–": "--"}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    # After the end of a row, a bracket is an optional length and a star a variant of the command.
    | {"[": "{[}", "]": "{]}", "*": "{*}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", _REPLACED: "?"}
)


def visible(text: str) -> str:
    r"""Escape a text for a terminal: line breaks stay, and nothing is left in it that a terminal would obey.

    >>> visible("a\x1b[2Jb\nc")
    'a�[2Jb\nc'
    """
    return "".join(_REPLACED if _is_obeyed(sign) else sign for sign in text)


def _is_obeyed(sign: str) -> bool:
    if sign in _KEPT:
        return False
    return unicodedata.category(sign) in _INVISIBLE or unicodedata.bidirectional(sign) in _TURNING


def printable(text: str) -> str:
    """Write a text on one line, without the control characters that could repaint a terminal."""
    return "".join(sign if sign.isprintable() else _REPLACED for sign in " ".join(text.split()))


def token_text(token: str, most: int) -> str:
    """Write a token so that a reader sees its blanks and line ends, in at most that many characters.

    >>> token_text(" rose" + chr(10), 24)
    '▁rose⏎'
    """
    seen = token.replace(" ", "▁").replace("\n", "⏎").replace("\t", "⇥")
    plain = "".join(sign if sign.isprintable() else _REPLACED for sign in seen)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def markdown(text: str) -> str:
    r"""Escape a text for Markdown, on one line: nothing is left in it that Markdown would read.

    >>> markdown("# a|b"), markdown("_a_ b_c"), markdown("1. <b>")
    ('\\# a\\|b', '\\_a\\_ b_c', '1\\. \\<b\\>')
    """
    escaped = re.sub(r"([\\`*<>\[\]|&~])|(?<!\w)(_)|(_)(?!\w)", r"\\\g<0>", printable(masked(text)))
    return re.sub(r"^(\d*)([#+.)=-])(?=[\s#+=-]|$)", r"\1\\\2", escaped)


def spreadsheet(text: str) -> str:
    """Write a text as a cell that no spreadsheet calculates: behind an apostrophe where it would be a formula.

    >>> spreadsheet("=1+1"), spreadsheet("a=b"), spreadsheet("a;=1+1")
    ("'=1+1", 'a=b', "a;'=1+1")
    """
    harmless = _HIDDEN_FORMULA.sub(r"\1'\2", masked(text))
    return f"'{harmless}" if _STARTS_FORMULA.match(harmless) else harmless


def tex(text: str) -> str:
    r"""Escape a text for a cell of a TeX table, on one line: nothing is left in it that TeX would read.

    >>> tex("50% [a]")
    '50\\% {[}a{]}'
    """
    return printable(masked(text)).translate(_TEX)


def github_table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    r"""Write a GitHub table, every cell as plain text; the first `left` columns are flush left, the others right.

    >>> print(github_table(["arm", "p"], [["a | b", ".5"]]))
    | arm | p |
    | --- | ---: |
    | a \| b | .5 |
    """
    first, *others = [" | ".join(map(markdown, line)) for line in (headings, *rows)]
    below = " | ".join(["---"] * left + ["---:"] * (len(headings) - left))
    return "\n".join(f"| {line} |" for line in (first, below, *others))
