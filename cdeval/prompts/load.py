"""The prompts of a study, loaded as its configuration says, and the line of the screen about them."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from cdeval.config.enums import PromptSource, Split
from cdeval.config.fields import shown
from cdeval.config.schema import PromptsConfig
from cdeval.errors import PromptError
from cdeval.prompts import texts
from cdeval.prompts.cut import Cutter, in_split, shuffled
from cdeval.prompts.items import GivenPrompt, Text, read_items
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Prompt, document_of

_EMBEDDED = (PromptSource.news, PromptSource.wiki, PromptSource.news_wiki)


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a study, in the order of their source."""

    prompts: tuple[Prompt, ...]
    source: str  # for people: "news (split test)", "file my.jsonl"
    texts_seen: int  # texts or items of the source, of this split
    too_short: int  # of them, texts with fewer than tokens_needed tokens
    tokens_needed: int  # prompt and reference together
    available: int  # usable ones, before the limit
    limit: int | None  # what was asked for
    without_reference: int  # among the prompts
    short_references: int  # among the prompts: references of fewer than max_new_tokens tokens

    def describe(self) -> str:
        """Describe the prompts in one line for the screen.

        >>> PromptSet((), "news (split test)", 225, 25, 160, 200, 64, 0, 0).describe()
        '0 of 200 prompts from news (split test); 25 of 225 texts too short (< 160 tokens)'
        """
        lengths = sorted({len(prompt.token_ids) for prompt in self.prompts})
        number = (
            f"{len(self.prompts)}"
            if len(self.prompts) == self.available
            else f"{len(self.prompts)} of {self.available}"
        )
        line = f"{number} prompts from {self.source}"
        if lengths:
            line += f", {lengths[0]} tokens" if len(lengths) == 1 else f", {lengths[0]} to {lengths[-1]} tokens"
        documents = len({document_of(prompt.id) for prompt in self.prompts})
        with_context = sum(prompt.without_context is not None for prompt in self.prompts)
        notes = [
            (documents < len(self.prompts), f"windows of {documents} texts"),
            (self.too_short, f"{self.too_short} of {self.texts_seen} texts too short (< {self.tokens_needed} tokens)"),
            (with_context, f"{with_context} with a context before the prompt"),
            (self.without_reference, f"{self.without_reference} without a reference"),
            (self.short_references, f"{self.short_references} references shorter than the continuations"),
            (self.limit is not None and self.limit > self.available, f"{self.limit} were asked for"),
        ]
        return "; ".join([line, *(note for holds, note in notes if holds)])


def load_prompts(
    config: PromptsConfig, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int, seed: int
) -> PromptSet:
    """Read the source, cut its texts, and choose `config.limit` of them.

    Which texts are chosen depends on `seed` and the number of the source's texts alone; lengths and tokenizer only
    leave out those that are too short. A choice of 64 contains the choice of 32. Second windows are chosen where there
    are too few first ones, and so on. `config.split` holds for every source but `file`, whose items are all used.

    Args: max_new_tokens: length of the references [tokens]. seed: chooses.
    Raises: PromptError: the file cannot be read, or no text is long enough. AssetError, HubError: no such source here.
    """
    needed = config.prompt_tokens + max_new_tokens
    if config.source is PromptSource.wikitext103:
        needed = max(needed, texts.WIKITEXT_TOKENS)
    items = _items(config, needed if config.windows == 1 else sys.maxsize)
    chat = config if config.chat_template else None
    usable = _usable(items, Cutter(tokenizer, max_new_tokens, chat), config, needed)
    order = [position for position in shuffled(items, seed) if position in usable]
    most = max(map(len, usable.values()))
    chosen = [(position, at) for at in range(most) for position in order if at < len(usable[position])][: config.limit]
    prompts = tuple(usable[position][at] for position, at in sorted(chosen))
    references = [prompt.reference_token_ids for prompt in prompts if prompt.reference_token_ids is not None]
    return PromptSet(
        prompts=prompts,
        source=_name(config) if chat is None else f"{_name(config)}, as chat",
        texts_seen=len(items),
        too_short=len(items) - len(usable),
        tokens_needed=needed,
        available=sum(map(len, usable.values())),
        limit=config.limit,
        without_reference=len(prompts) - len(references),
        short_references=sum(len(reference) < max_new_tokens for reference in references),
    )


def one_prompt(text: str, tokenizer: PreTrainedTokenizerBase) -> PromptSet:
    """A prompt that was typed, whole and without a reference.

    Raises: PromptError: it yields no tokens.
    """
    if not TextCodec(tokenizer).prompt_ids(text):
        raise PromptError(f"prompt={text!r} yields no tokens: give some text.")
    prompts = (Cutter(tokenizer, max_new_tokens=0).whole(GivenPrompt("prompt", text, None)),)
    return PromptSet(prompts, "the command line", 1, 0, 1, 1, None, 1, 0)


def whole_texts(config: PromptsConfig, split: Split, tokens: int) -> list[Text]:
    """Every text of the source in a split, uncut; the items of a file are split by their ids, too.

    Args: tokens: of which texts should have at least as many, for sources that read no further than needed.
    Raises: AssetError, HubError: as `load_prompts`.
    """
    items = _items(replace(config, split=Split.all), tokens)
    whole = (
        item if isinstance(item, Text) else Text(item.id, item.whole + (item.reference or ""))
        for item in items
        if in_split(item.id, split)
    )
    return list(whole)


def other_texts(config: PromptsConfig, used: Collection[str], split: Split = Split.all) -> list[str]:
    """Whole texts of the same source without those whose beginnings are the prompts `used`.

    Those of a split only, where it has any; otherwise of either.

    Raises: PromptError: there are none. AssetError, HubError: as `load_prompts`.
    """
    texts, seen = whole_texts(config, Split.all, config.prompt_tokens), set(map(document_of, used))
    found = [text for text in texts if text.id not in seen]
    if not found:
        raise PromptError(
            f"prompts={_name(config)}: all {len(texts)} texts are prompts or were learnt from; none is left to "
            "learn an amateur from. Lower prompts.limit, or choose another source."
        )
    preferred = [text for text in found if in_split(text.id, split)]
    return [text.text for text in preferred or found]


def texts_to_learn_from(
    config: PromptsConfig, used: Collection[str], own: str | None, tokens: int
) -> tuple[list[Text], str]:
    """Whole texts that a study may learn a lens from: of the user's own file, or of the split its prompts are not of.

    The embedded news and Wikipedia learn from one another's, too: a regression gains more by more text than it loses by
    text of the other kind. A file or a data set of the hub whose texts may all be prompts has no other split: there
    the tuning split of the embedded texts is read.

    Args:
        config: where the study's prompts come from.
        used: ids of the prompts, whose texts are left out.
        own: a JSON or JSONL file, all of whose texts are taken; None: as above.
        tokens: as of `whole_texts`.

    Returns: the texts, and what they are called.

    Raises: PromptError: as `require_other_split`, or the file cannot be read. AssetError, HubError: as `load_prompts`.
    """
    require_other_split(config, own)
    if own is not None:
        config = PromptsConfig(PromptSource.file, path=own)
        return whole_texts(config, Split.all, tokens), _name(config)
    embedded = replace(config, source=PromptSource.news_wiki, path=None)
    if config.source is PromptSource.file or config.split is Split.all:
        other = replace(embedded, split=Split.tune)
    else:
        other = replace(embedded if config.source in _EMBEDDED else config, split=config.split.other)
    seen = set(map(document_of, used))
    found = [text for text in whole_texts(other, other.split, tokens) if text.id not in seen]
    return found, _name(other)


def require_other_split(config: PromptsConfig, own: str | None) -> None:
    """Check that there are texts to learn a lens from, before anything is loaded.

    Raises: PromptError: every embedded text may be a prompt, and there is no file of the user's own.
    """
    if own is None and config.source in _EMBEDDED and config.split is Split.all:
        raise PromptError(
            f"prompts={_name(config)}: with prompts.split=all every text may be a prompt, so that there is no other "
            "split to fit the linear lens to. Give prompts.split=test, or texts of your own: a JSON or JSONL file as "
            "lens_texts of what reads the lens, amateur.lens_texts= or search.adaptive_exit.lens_texts=."
        )


def _usable(
    items: Sequence[Text | GivenPrompt], cutter: Cutter, config: PromptsConfig, needed: int
) -> dict[int, Sequence[Prompt]]:
    """Prompts by position of their item; texts that are too short have none."""
    pairs = {position: item for position, item in enumerate(items) if isinstance(item, GivenPrompt)}
    if config.windows != 1 and len(pairs) == len(items):
        raise PromptError(
            f"prompts.windows={shown(config.windows)}: every item of {config.path} has a `prompt`, which is used "
            "whole. Give items with `text`, which are cut, or leave the setting out."
        )
    usable: dict[int, Sequence[Prompt]] = {
        position: [prompt] for position, prompt in zip(pairs, cutter.all_whole(list(pairs.values())), strict=True)
    }
    longest = 0
    for position, item in enumerate(items):
        if isinstance(item, GivenPrompt):
            continue
        cut = cutter.cut(item, config.prompt_tokens, at_least=needed, windows=config.windows)
        longest = max(longest, cut.tokens)
        if cut.prompts:
            usable[position] = cut.prompts
    if usable:
        return usable
    paragraphs = f", at least {texts.WIKITEXT_TOKENS}" if config.source is PromptSource.wikitext103 else ""
    raise PromptError(
        f"prompts={_name(config)}: all {len(items)} texts are too short: the longest has {longest} tokens, {needed} "
        f"are needed (prompts.prompt_tokens={config.prompt_tokens} + search.max_new_tokens={cutter.max_new_tokens}"
        f"{paragraphs}). Lower one of these settings, or choose other prompts."
    )


def _items(config: PromptsConfig, needed: int) -> Sequence[Text | GivenPrompt]:
    """Load everything of the source in the split, in its order."""
    if config.source is PromptSource.file:
        if config.path is None:
            raise PromptError(
                "prompts=file needs prompts.path: a JSON or JSONL file with `prompt` or `text` in its items."
            )
        return read_items(Path(config.path).expanduser())
    readers: dict[PromptSource, Callable[[], list[Text]]] = {
        PromptSource.news: texts.news,
        PromptSource.wiki: lambda: texts.wiki(needed),
        PromptSource.news_wiki: lambda: [*texts.news(), *texts.wiki(needed)],
        PromptSource.speeches: lambda: texts.speeches(needed),
        PromptSource.wikitext103: texts.wikitext103,
        PromptSource.ccnews: texts.ccnews,
    }
    return [text for text in readers[config.source]() if in_split(text.id, config.split)]


def _name(config: PromptsConfig) -> str:
    if config.source is PromptSource.file:
        return f"file {config.path}"
    return config.source.value if config.split is Split.all else f"{config.source.value} (split {config.split.value})"
