"""Small pieces of real mark-up, each with what a reader sees."""

import bz2
from pathlib import Path

import pytest

from cdeval.prompts.wiki import Page, is_article, prose, read_dump


@pytest.mark.parametrize(
    ("wikitext", "seen"),
    [
        ("'''Albedo''' is a ''measure'' of [[light]].", "Albedo is a measure of light."),
        ("See the [[sun|star]] and its [[planet]]s.", "See the star and its planets."),
        ("A fact.<ref name=x>Somebody, ''Book''. 1999.</ref> Another.<ref name=x />", "A fact. Another."),
        ("A <!-- hidden. -->word &mdash; or&nbsp;two.", "A word — or two."),
        ("[[File:A.jpg|thumb|A [[cat]].]]\nA cat sat.", "A cat sat."),
        ("[[Image:A.jpg]][[Category:Cats]]A cat sat.", "A cat sat."),
        ("{{Infobox cat|name=Tom|size={{convert|3|ft|m}}}}\n'''Tom''' is a cat.", "Tom is a cat."),
        ('Before.\n{| class="wikitable"\n|-\n| A cell. || Another.\n|}\nAfter.', "Before.\nAfter."),
        ("Before.\n* An item.\n# Another.\n; Term\n: Indented.\nAfter.", "Before.\nAfter."),
        ("Before.\n== Heading ==\nAfter.", "Before.\nAfter."),
        ("Text.\n== See also ==\nNot this.\n== More ==\nNor this.", "Text."),
        ("It is {{convert|1300|km2|sqmi}} large and [http://a.b far] off.", "It is 1300 km² large and far off."),
        ("Tom ({{IPAc-en|t|ɒ|m}}; {{lang-el|Τομ}}) sat.", "Tom (Τομ) sat."),
        ("Tom ({{IPAc-en|t|ɒ|m}}) sat{{citation needed|date=May 2015}}.", "Tom sat."),
        ("Water is H<sub>2</sub>O.", "Water is H₂O."),
        ("{{as of|2014}}, it was {{nowrap|3 m}} wide{{snd}}or more.", "As of 2014, it was 3 m wide – or more."),
        ("It was (about {{age|1969|07|20}} years) ago.", "It was ago."),
        # A sentence with a hole is no prose: the whole paragraph goes, its neighbours stay.
        ("One.\nThe law <math>E=mc^2</math> holds. It is known.\nTwo.", "One.\nTwo."),
        ("One.\nIt weighs {{val|6.2|e=18}} grams.\nTwo.", "One.\nTwo."),
        ("One.\nAs follows:\nTwo.", "One.\nTwo."),
        ("One.\nHe said [a] thing.\nTwo.", "One.\nTwo."),
        ("A   line\twith spaces.\n\n\n  Next.", "A line with spaces.\nNext."),
    ],
)
def test_a_reader_sees(wikitext: str, seen: str) -> None:
    assert prose(wikitext, enough=10_000) == seen


def test_reading_stops_at_a_section_once_there_is_enough() -> None:
    wikitext = "First one.\n== A ==\nSecond one.\n== B ==\nThird one."
    assert prose(wikitext, enough=1) == "First one."
    assert prose(wikitext, enough=12) == "First one.\nSecond one."
    assert prose(wikitext, enough=100) == "First one.\nSecond one.\nThird one."


def test_lists_and_disambiguations_are_no_articles() -> None:
    assert is_article(Page("1", "Mercury in fiction", "Mercury is a planet. {{DEFAULTSORT:Mercury}}"))
    assert not is_article(Page("2", "List of planets", "Mercury is a planet."))
    assert not is_article(Page("3", "Mercury (disambiguation)", "Mercury may refer to:"))
    assert not is_article(Page("4", "Mercury", "'''Mercury''' may refer to:\n{{Disambiguation|geo}}"))
    assert not is_article(Page("5", "Aa", "The rivers.\n{{disambig}}"))


def test_redirects_and_other_namespaces_are_not_read(tmp_path: Path) -> None:
    page = "<page><title>{}</title><ns>{}</ns><id>{}</id>{}<revision><id>9</id><text>{}</text></revision></page>"
    pages = [
        page.format("Cat", 0, 12, "", "A &lt;b&gt;cat&lt;/b&gt;."),
        page.format("Cats", 0, 13, '<redirect title="Cat" />', "#REDIRECT [[Cat]]"),
        page.format("Talk:Cat", 1, 14, "", "Which cat?"),
        page.format("Dog", 0, 15, "", "A dog."),
    ]
    dump = tmp_path / "dump.bz2"
    namespace = "http://www.mediawiki.org/xml/export-0.10/"
    dump.write_bytes(bz2.compress(f'<mediawiki xmlns="{namespace}">{"".join(pages)}</mediawiki>'.encode()))
    assert list(read_dump(dump)) == [Page("12", "Cat", "A <b>cat</b>."), Page("15", "Dog", "A dog.")]
