"""The sources of whole texts: embedded ones, which need a package index once, and data sets of the hub."""

import json
import re
from collections.abc import Iterable, Iterator

from cdeval.assets import embedded as assets
from cdeval.assets.extras import library_of
from cdeval.assets.hub import require_hub
from cdeval.errors import HubError, one_line
from cdeval.prompts.items import Text
from cdeval.prompts.wiki import is_article, prose, read_dump

_OFFLINE_CHOICES = "prompts=news, prompts=wiki, prompts=speeches, or prompts=file prompts.path=<JSON or JSONL>"

_WIKITEXT = "Salesforce/wikitext"
_WIKITEXT_COMMIT = "b08601e04326c79dfdd32d625aee71d232d685c3"
WIKITEXT_TOKENS = 160  # shortest paragraph that Li et al. (2022) continued

_SENTENCE_ENDS = (".", "!", "?", '."', '!"', '?"')
_NOT_SPOKEN = re.compile(r"[][{}|•_]|^(Audience|Several) members?\.|https?://")

_CCNEWS = "vblagoje/cc_news"
_CCNEWS_ARTICLES = 2000  # of 708 241; Li et al. (2022) report 1995


def news() -> list[Text]:
    """The embedded news articles; an id is the line of its article, from news-0001.

    Raises: AssetError: they cannot be fetched.
    """
    lines = assets.news_file().read_text(encoding="utf-8").split("\n")
    return [Text(f"news-{number:04}", " ".join(line.split())) for number, line in enumerate(lines, 1) if line.strip()]


def wiki(tokens: int) -> list[Text]:
    """The embedded Wikipedia articles as prose of at least `tokens` tokens, if they are that long; ids wiki-<page id>.

    Raises: AssetError: they cannot be fetched.
    """
    pages = (page for page in read_dump(assets.wiki_file()) if is_article(page))
    return [Text(f"wiki-{page.id}", prose(page.wikitext, _enough(tokens))) for page in pages]


def speeches(tokens: int) -> list[Text]:
    """The embedded annual messages as prose of at least `tokens` tokens; ids speech-<year>-<president>-<number>.

    Raises: AssetError: they cannot be fetched.
    """
    found = json.loads(assets.speeches_file().read_text("utf-8"))
    return [Text(f"speech-{name}", spoken(text, _enough(tokens))) for name, text in found.items()]


def spoken(transcript: str, enough: int) -> str:
    """The paragraphs of a speech that are whole sentences, without the speaker's name, notes and what others called.

    Args: enough: characters after which nothing more is read.
    """
    lines = (" ".join(line.split()).removeprefix("The President. ") for line in transcript.split("\n"))
    kept: list[str] = []
    for line in lines:
        if line.endswith(_SENTENCE_ENDS) and not _NOT_SPOKEN.search(line):
            kept.append(line)
            enough -= len(line)
        if enough <= 0:
            break
    return "\n".join(kept)


def _enough(tokens: int) -> int:
    """The characters that surely hold so many tokens; one of English has 4 to 5."""
    return 8 * tokens


def wikitext103() -> list[Text]:
    """Paragraphs of the validation and test splits of WikiText-103 (Merity et al. 2017), as Li et al. (2022) took them.

    Raises: ConfigError: no extra [datasets]. HubError: the hub is not there, and no copy.
    """
    asked = "prompts=wikitext103 (the data set Salesforce/wikitext)"
    load_dataset = library_of("datasets", "datasets", asked).load_dataset
    require_hub(asked, _OFFLINE_CHOICES, repo=_WIKITEXT, kind="dataset")
    texts: list[Text] = []
    for split in ("validation", "test"):
        try:
            rows = load_dataset(_WIKITEXT, "wikitext-103-raw-v1", split=split, revision=_WIKITEXT_COMMIT)
        except (OSError, ValueError) as error:
            raise _unusable(asked, error) from error
        texts += wikitext_paragraphs(rows["text"], split)
    return texts


def wikitext_paragraphs(lines: Iterable[str], split: str) -> Iterator[Text]:
    """Every line but empty ones and headings (` = = Name = = `); ids wikitext103-<split>-<line, from 1>."""
    for number, line in enumerate(lines, 1):
        paragraph = line.strip()
        if paragraph and not (paragraph.startswith("= ") and paragraph.endswith(" =")):
            yield Text(f"wikitext103-{split}-{number:05}", paragraph)


def ccnews() -> list[Text]:
    """The first 2000 articles of CC-News (Hamborg et al. 2017), streamed; ids ccnews-<row, from 1>.

    Raises: ConfigError: no extra [datasets]. HubError: the hub is not there.
    """
    asked = f"prompts=ccnews (the data set {_CCNEWS})"
    load_dataset = library_of("datasets", "datasets", asked).load_dataset
    require_hub(asked, _OFFLINE_CHOICES)
    try:
        rows = load_dataset(_CCNEWS, split="train", streaming=True)
        articles = [" ".join(row["text"].split()) for row in rows.take(_CCNEWS_ARTICLES)]
    except (OSError, ValueError) as error:
        raise _unusable(asked, error) from error
    return [Text(f"ccnews-{number:05}", article) for number, article in enumerate(articles, 1) if article]


def _unusable(asked: str, error: Exception) -> HubError:
    reason = one_line(error, 300).rstrip(".")
    return HubError(
        f"{asked} could not be loaded from the Hugging Face hub: {reason}. Works without it: {_OFFLINE_CHOICES}."
    )
