"""Wikipedia's mark-up language down to the prose a reader sees."""

import bz2
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import mwparserfromhell
from mwparserfromhell.nodes import (
    Argument,
    Comment,
    ExternalLink,
    Heading,
    HTMLEntity,
    Node,
    Tag,
    Template,
    Text,
    Wikilink,
)


class Page(NamedTuple):
    """One article of a dump."""

    id: str  # the page id of Wikipedia, digits
    title: str
    wikitext: str


# Pages that are not running prose: their text would begin with "X may refer to:" or be bullet points.
_LISTS = re.compile(r"^(List|Lists|Index|Outline|Timeline|Glossary) of |\((disambiguation|surname|given name)\)$")
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(disambig\w*|dab|hndis|geodis|surname|given name|set index( article)?|(wiktionary|soft) redirect)\s*[|}]",
    re.IGNORECASE,
)
# Sections after the prose.
_BACK_MATTER = re.compile(
    r"^==\s*(see also|references|notes|footnotes|citations|sources|bibliography|further reading|external links)\b.*?==",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_SECTION = re.compile(r"^(?===[^=])", re.MULTILINE)
_NOT_PROSE_LINKS = re.compile(r"^\s*:?\s*(file|image|media|category|[a-z]{2,3}(-[a-z]+)?)\s*:", re.IGNORECASE)
_PROSE_TAGS = frozenset(
    {"b", "i", "em", "strong", "small", "big", "u", "span", "nowiki", "abbr", "cite", "q", "blockquote"}
)
# Templates that show one of their arguments inside a sentence: name -> its position; -1 is the last one.
_SHOWN_ARGUMENT = {
    "lang": -1,
    "transl": -1,
    "rtl-lang": 1,
    "nihongo": 0,
    "nowrap": 0,
    "nobr": 0,
    "nq": 0,
    "big": 0,
    "small": 0,
    "abbr": 0,
}
_SHOWN_SIGN = {
    "ndash": "–",
    "spaced ndash": " – ",
    "snd": " – ",
    "mdash": "—",
    "mdashb": "—",
    "'": "'",
    "' \"": "' \"",
    "'s": "'s",
}
_SUPERSCRIPTS = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
_SUBSCRIPTS = str.maketrans("0123456789+-−", "₀₁₂₃₄₅₆₇₈₉₊₋₋")
# Templates that show nothing, or a note or a pronunciation that the sentence does without.
_ASIDE = re.compile(
    r"(sfn|efn|refn|rp|cn|fact|#tag:ref|ipa|respell|use |main\b|see also|further|pp\b|cite |citation|anchor|coord|"
    r"clarify|who\b|which\b|when\b|by whom|dubious|full\b|spaces|audio|.*\bneeded|.*\binline|.*\?$|qualify)"
)
_HOLE = "\ufffc"  # object replacement character: something that belongs into the sentence was taken out
_UNREADABLE = re.compile(rf"[{_HOLE}\[\]{{}}|<>\u007f]|''|==|\b(https?|ftp)://|\d\s*(px|thumb)\b")
_ENDINGS = (".", "!", "?", '."', ".”", ".)", '?"', '!"')


def read_dump(file: Path) -> Iterator[Page]:
    """Articles of a MediaWiki XML dump in bzip2, in its order, one in memory at a time; redirects are left out.

    The dump is hash-checked by `cdeval.assets.embedded`, so that a hostile document cannot come this way.
    """
    with bz2.open(file) as stream:
        for _, element in ElementTree.iterparse(stream):  # noqa: S314 - see above
            if element.tag.rpartition("}")[2] != "page":
                continue
            fields = {child.tag.rpartition("}")[2]: child for child in element}
            wikitext = element.findtext("{*}revision/{*}text") or ""
            if fields["ns"].text == "0" and "redirect" not in fields:
                yield Page(id=fields["id"].text or "", title=fields["title"].text or "", wikitext=wikitext)
            element.clear()


def is_article(page: Page) -> bool:
    """Whether the page is running prose: no disambiguation, list or index."""
    return not _LISTS.search(page.title) and not _DISAMBIGUATION.search(page.wikitext)


def prose(wikitext: str, enough: int) -> str:
    """The paragraphs of an article, without mark-up, joined by line breaks.

    Tables, lists, headings, references, files and comments are left out; so is, as a whole, a paragraph that shows its
    reader something which is no text (a formula, an unknown template), because its sentences would have holes.

    Args: enough: characters after which no further section is read; parsing is what takes the time.
    """
    body = _BACK_MATTER.split(wikitext, maxsplit=1)[0]
    paragraphs: list[str] = []
    for section in _SECTION.split(body):
        paragraphs += _paragraphs(_visible(mwparserfromhell.parse(section).nodes))
        if sum(map(len, paragraphs)) >= enough:
            break
    return "\n".join(paragraphs)


def _visible(nodes: list[Node]) -> str:
    return "".join(_visible_node(node) for node in nodes)


def _visible_node(node: Node) -> str:  # noqa: PLR0911 - a table of eight kinds of nodes, one line each
    match node:
        case Text():
            return str(node.value)
        case HTMLEntity():
            return str(node.normalize())
        case Wikilink():
            if _NOT_PROSE_LINKS.match(str(node.title)):
                return ""
            return _visible((node.text or node.title).nodes)
        case ExternalLink():
            return _visible(node.title.nodes) if node.title else _HOLE
        case Template():
            return _visible_template(node)
        case Tag():
            return _visible_tag(node)
        case Argument():
            return _HOLE
        case Comment() | Heading():
            return ""
    return ""


def _visible_template(node: Template) -> str:
    """Read what a template shows: an argument, a measure, a sign, nothing, or something that we cannot know."""
    name = str(node.name).strip().lower().replace("_", " ")
    arguments = [param.value for param in node.params if not param.showkey]
    if name in _SHOWN_SIGN:
        return _SHOWN_SIGN[name]
    if name in {"convert", "cvt"} and len(arguments) >= 2:
        return f"{arguments[0]} {str(arguments[1]).translate(_SUPERSCRIPTS)}"
    if name == "as of" and arguments:
        return f"{'as' if node.has('lc') else 'As'} of {arguments[0]}"
    if name in _SHOWN_ARGUMENT or name.startswith("lang-"):
        position = _SHOWN_ARGUMENT.get(name, 0)
        return _visible(arguments[position].nodes) if -len(arguments) <= position < len(arguments) else _HOLE
    return "" if _ASIDE.match(name) else _HOLE


def _visible_tag(node: Tag) -> str:
    name = str(node.tag).strip().lower()
    if node.wiki_markup and name in {"li", "dt", "dd", "hr", "table"}:
        return "\n" if name == "table" else _HOLE  # a list item: its line is no sentence of the running text
    if name == "br":
        return " "
    inner = _visible(node.contents.nodes) if node.contents else ""
    if name in _PROSE_TAGS:
        return inner
    if name in {"sub", "sup"} and re.fullmatch(r"[0-9+−-]+", inner):
        return inner.translate(_SUBSCRIPTS if name == "sub" else _SUPERSCRIPTS)
    return "" if name in {"ref", "references", "gallery"} else _HOLE


def _paragraphs(text: str) -> list[str]:
    """The lines that are whole sentences and complete, tidied."""
    tidied = (_tidy(line) for line in text.split("\n"))
    return [line for line in tidied if line.endswith(_ENDINGS) and not _UNREADABLE.search(line)]


def _tidy(line: str) -> str:
    """Leave one space between words, and drop brackets around a hole or nothing but a pronunciation's commas."""
    line = re.sub(r"[\u200b-\u200f\u2060\ufeff\u00ad]", "", line)
    line = re.sub(r"\s+", " ", line)
    for _ in range(2):  # brackets in brackets
        line = re.sub(rf"\s*\([^()]*{_HOLE}[^()]*\)", "", line)
        line = re.sub(r"\(\s*[,;:/–-]+\s*", "(", line)
        line = re.sub(r"\s*[,;:/]+\s*(?=[,;:]\s|\))", "", line)
        line = re.sub(r"\(\s*(or|from|pronounced|also)?\s*\)", "", line)
    line = re.sub(r"\(\s+", "(", line)
    line = re.sub(r"\s+([,;:.!?)])", r"\1", line)
    return re.sub(r"\s+", " ", line).strip()
