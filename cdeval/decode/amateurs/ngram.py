"""An n-gram amateur: how often tokens followed each other in other texts of the prompts' source.

    p(x | h) = (c(h x) + t(h) · p(x | h')) / (c(h) + t(h)),      p(x | nothing) = (c(x) + 1) / (N + V)

with c the counts, t(h) the number of different tokens seen after h, and h' the history without its oldest token:
interpolated Witten-Bell smoothing (Chen & Goodman 1998, section 2.5), down to add-one unigrams. No token is impossible.

The counts are tables on the expert's device. Every history that was seen is a number there, and a beam keeps one: that
of the longest history that its last tokens end with. A step finds the next one in a sorted table of (history, token),
as an automaton of Aho & Corasick (1975) goes from state to state, so that nothing is read back to the host.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.amateur import AMATEURS, Amateur, AmateurKind
from cdeval.config.schema import AmateurConfig, RunConfig
from cdeval.decode.amateurs.kind import Source
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.decode.lanes import Lane, index
from cdeval.models.loading import LanguageModel
from cdeval.prompts.load import PromptSet, other_texts
from cdeval.prompts.tokens import TextCodec

Tokens = tuple[int, ...]

_EMPTY = 0  # the number of the history without tokens
_TOKENS = 1 << 32  # more than any vocabulary has, so that (history, token) is one number


@dataclass(frozen=True, slots=True)
class Tables:
    """The histories that were seen, and what followed each.

    They are numbered by their length, then by the number of the history before their last token, then by that token:
    in this order (history, token) is a sorted table, whose places are the numbers of the longer histories.
    """

    unigrams: Float[Tensor, " vocab"]  # float64, as all shares
    # Of history 1, 2, ...: the number of the history before its last token, times _TOKENS, plus that token. Ascending;
    # the last entry is larger than any, so that a search never ends behind the table.
    longer: Int[Tensor, " history"]
    # The numbers of the history's last token, of its last two, ...; _EMPTY where it is not so long.
    endings: Int[Tensor, "history length"]
    kinds: Int[Tensor, " history"]  # how many different tokens followed; 0 for _EMPTY, which has the unigrams
    first: Int[Tensor, " history"]  # the place of the first of them in the next two tables
    followers: Int[Tensor, " place"]
    shares: Float[Tensor, " place"]  # c(h x) / (c(h) + t(h))
    left: Float[Tensor, " history"]  # t(h) / (c(h) + t(h)), for the shorter history
    widths: tuple[int, ...]  # most different tokens that followed a history of one token, of two, ...

    @classmethod
    def from_counts(cls, after: Mapping[Tokens, Counter[int]], order: int, vocab: int) -> "Tables":
        """Number the histories and make the tables.

        Args:
            after: how often each token followed each history of up to `order` - 1 tokens; not empty.
            order: of the n-grams [tokens].
            vocab: tokens of the vocabulary.
        """
        numbers: dict[Tokens, int] = {(): _EMPTY}
        longer: list[int] = []
        endings = torch.full((1, order - 1), _EMPTY)
        widths = []
        for length in range(1, order):
            # A history that was seen was seen, too, without its last or without its first token.
            before = {one: numbers[one[:-1]] * _TOKENS + one[-1] for one in after if len(one) == length}
            histories = sorted(before, key=before.__getitem__)
            longer += [before[one] for one in histories]
            numbers |= {one: number for number, one in enumerate(histories, len(numbers))}
            own = endings[[numbers[one[1:]] for one in histories]]
            own[:, length - 1] = torch.arange(len(numbers) - len(histories), len(numbers))
            endings = torch.cat([endings, own])
            widths.append(max((len(after[one]) for one in histories), default=0))
        unigrams = torch.ones(vocab, dtype=torch.float64)
        unigrams[list(after[()])] += torch.tensor(list(after[()].values()), dtype=torch.float64)
        counts = [after[one] for one in numbers if one]
        kinds = torch.tensor([0, *map(len, counts)])
        seen = torch.tensor([1, *(len(one) + one.total() for one in counts)], dtype=torch.float64)
        found = torch.tensor([count for one in counts for count in one.values()], dtype=torch.float64)
        return cls(
            unigrams=unigrams / unigrams.sum(),
            longer=torch.tensor([*longer, torch.iinfo(torch.long).max]),
            endings=endings,
            kinds=kinds,
            first=kinds.cumsum(0) - kinds,
            followers=torch.tensor([token for one in counts for token in one], dtype=torch.long),
            shares=found / seen.repeat_interleave(kinds),
            left=torch.where(kinds > 0, kinds / seen, 1.0),
            widths=tuple(widths),
        )

    def to(self, device: torch.device) -> "Tables":
        """Return the tables on a device; Apple's have no float64."""
        wanted = torch.float32 if device.type == "mps" else torch.float64
        moved: dict[str, Any] = {
            one.name: table.to(device, wanted if table.is_floating_point() else None)
            for one in fields(self)
            if isinstance(table := getattr(self, one.name), Tensor)
        }
        return replace(self, **moved)

    def follow(self, histories: Int[Tensor, "*rows"], tokens: Int[Tensor, "*rows"]) -> Int[Tensor, "*rows"]:
        """Append a token to each history; returns the longest seen history that the result ends with."""
        found = torch.full_like(histories, _EMPTY)
        if not self.widths:
            return found
        for one in (found, *self.endings[histories].unbind(-1)):
            wanted = one * _TOKENS + tokens
            place = torch.searchsorted(self.longer, wanted)
            # From the shortest ending to the longest, whose number is the largest.
            found = found.maximum((place + 1).masked_fill(self.longer[place] != wanted, _EMPTY))
        return found

    def log_probs(self, histories: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows vocab"]:
        """The log p(x | history) of every token [nats], float32."""
        found = self.unigrams.expand(*histories.shape, -1).clone()
        for width, one in zip(self.widths, self.endings[histories].unbind(-1), strict=True):
            nth = torch.arange(width, device=histories.device)
            # Fewer tokens may have followed a history than the table is wide: the rest adds 0.
            beyond = nth >= self.kinds[one][..., None]
            place = (self.first[one][..., None] + nth).masked_fill(beyond, 0)
            found.mul_(self.left[one][..., None])
            found.scatter_add_(-1, self.followers[place], self.shares[place].masked_fill(beyond, 0.0))
        return found.log_().float()


class Ngrams:
    """Counts of up to `order` tokens."""

    def __init__(self, texts: Iterable[Sequence[int]], order: int, vocab: int) -> None:
        """Count.

        Raises: ValueError: there are no tokens to count.
        """
        self.order = order
        after: dict[Tokens, Counter[int]] = defaultdict(Counter)
        for text in texts:
            for place, token in enumerate(text):
                for length in range(min(order - 1, place) + 1):
                    after[tuple(text[place - length : place])][token] += 1
        if not after:
            raise ValueError("n-grams need texts to count")
        self.tokens = after[()].total()  # that were counted
        self.digest = hashlib.sha256(repr(sorted(after.items())).encode()).hexdigest()
        self.tables = Tables.from_counts(after, order, vocab)


class NgramSource:
    """The longest seen history that each beam ends with, and what the counts make of it."""

    state = ("_histories",)
    peak_slots = 0  # no keys, no values

    def __init__(self, ngrams: Ngrams, own: OwnPrompt, expert: LanguageModel, lanes: Sequence[Lane]) -> None:
        self._tables, self._order = ngrams.tables.to(expert.device), ngrams.order
        self._own, self._lanes, self._device = own, lanes, expert.device
        self._vocab = expert.parts.head_weight.shape[0]
        self._histories: Int[Tensor, "lane beam"] = torch.empty(0, 0, dtype=torch.long)

    def prefill(self, prompts: Sequence[Tokens]) -> None:
        """Read the lanes' prompts, or what stands for them."""
        read = [self._own.read(prompt, lane.without_context) for prompt, lane in zip(prompts, self._lanes, strict=True)]
        self._histories = torch.full((len(read), 1), _EMPTY, device=self._device)
        # Lanes of one batch read equally many tokens; older ones than these no history has.
        for tokens in list(zip(*read, strict=True))[-self._order :]:
            self.read(index(tokens, self._device)[:, None])

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """Read the last tokens of all beams."""
        self._histories = self._tables.follow(self._histories, tokens)

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]."""
        self._histories = self._histories.gather(1, parent)

    def compact(self) -> None:
        """Nothing is kept that could be dropped."""

    def logits(self, expert: Float[Tensor, "lane beam vocab"]) -> Float[Tensor, "lane beam vocab"]:
        """Log-probabilities; tokens beyond the counted vocabulary are as rare as the rarest."""
        found = self._tables.log_probs(self._histories)
        missing = self._vocab - found.shape[-1]
        if missing <= 0:
            return found
        return torch.cat([found, found.amin(dim=-1, keepdim=True).expand(*found.shape[:-1], missing)], dim=-1)


class Ngram(AmateurKind):
    """Counts over the expert's tokens, of the source's texts that are not prompts."""

    name = "ngram"
    reads = frozenset({"context", "order"})

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read its order and context."""
        return Amateur(self.name, order=config.order, context=config.context, negative=config.negative)

    def label(self, amateur: Amateur) -> str:
        """Name it for readers."""
        return f"{amateur.order}-gram"

    def needs(self, config: AmateurConfig) -> tuple[str, str]:
        """Name the texts, which a study with random weights does not have."""
        return "amateur=ngram", "texts to count"

    def learns(self, config: AmateurConfig) -> bool:
        """Tell that texts are counted."""
        return True

    def load(self, opened: None, config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> Ngrams:
        """Count the texts. Raises: PromptError: none are left to count."""
        texts = other_texts(config.prompts, [prompt.id for prompt in prompts.prompts])
        codec = TextCodec(expert.tokenizer)
        vocab = expert.model.config.vocab_size
        return Ngrams([codec.continuation_ids(text) for text in texts], config.amateur.order, vocab)

    def source(self, amateur: Amateur, loaded: Ngrams, expert: LanguageModel, lanes: Sequence[Lane]) -> Source:
        """Look the last tokens up at every step."""
        return NgramSource(loaded, OwnPrompt.from_amateur(amateur, expert.tokenizer), expert, lanes)


AMATEURS.add(Ngram())
