"""An n-gram amateur: how often tokens followed each other in other texts of the prompts' source.

    p(x | h) = (c(h x) + t(h) · p(x | h')) / (c(h) + t(h)),      p(x | nothing) = (c(x) + 1) / (N + V)

with c the counts, t(h) the number of different tokens seen after h, and h' the history without its oldest token:
interpolated Witten-Bell smoothing (Chen & Goodman 1998, section 2.5), down to add-one unigrams. No token is impossible.

Counts live in the host's memory: unlike any other amateur it waits for the device once a step.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.amateur import AMATEURS, Amateur, AmateurKind
from cdeval.config.schema import AmateurConfig, RunConfig
from cdeval.decode.amateurs.kind import Source
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel
from cdeval.prompts.load import PromptSet, other_texts
from cdeval.prompts.tokens import TextCodec

Tokens = tuple[int, ...]


class Ngrams:
    """Counts of up to `order` tokens."""

    def __init__(self, texts: Iterable[Sequence[int]], order: int, vocab: int) -> None:
        """Count.

        Raises: ValueError: there are no tokens to count.
        """
        self.order, self.vocab = order, vocab
        self._after: dict[Tokens, Counter[int]] = defaultdict(Counter)
        for text in texts:
            for place, token in enumerate(text):
                for length in range(min(order - 1, place) + 1):
                    self._after[tuple(text[place - length : place])][token] += 1
        if not self._after:
            raise ValueError("n-grams need texts to count")
        self.digest = hashlib.sha256(repr(sorted(self._after.items())).encode()).hexdigest()
        unigrams = torch.ones(vocab, dtype=torch.float64)
        for token, count in self._after[()].items():
            unigrams[token] += count
        self._unigrams = unigrams / unigrams.sum()

    @property
    def tokens(self) -> int:
        """The number of tokens that were counted."""
        return sum(self._after[()].values())

    def log_probs(self, history: Sequence[int]) -> Float[Tensor, " vocab"]:
        """The log p(x | history) of every token [nats], float32; only the last `order` - 1 tokens are read."""
        recent = tuple(history)[len(history) - min(self.order - 1, len(history)) :]
        found = self._unigrams.clone()
        for length in range(1, len(recent) + 1):
            after = self._after.get(recent[len(recent) - length :])
            if not after:
                break  # a longer history was not seen either
            kinds, total = len(after), after.total()
            found *= kinds / (total + kinds)
            places = torch.tensor(list(after))
            found[places] += torch.tensor(list(after.values()), dtype=torch.float64) / (total + kinds)
        return found.log().float()


class NgramSource:
    """The last tokens of every beam, and what the counts make of them."""

    def __init__(self, ngrams: Ngrams, own: OwnPrompt, expert: LanguageModel, lanes: Sequence[Lane]) -> None:
        self._ngrams, self._own, self._lanes, self._device = ngrams, own, lanes, expert.device
        self._vocab = expert.parts.head_weight.shape[0]
        self._recent: list[list[Tokens]] = []  # lane, beam -> its last tokens
        self._parents: list[list[int]] | None = None

    peak_slots = 0  # no keys, no values

    def prefill(self, prompts: Sequence[Tokens]) -> None:
        """Read the lanes' prompts, or what stands for them."""
        read = zip(prompts, self._lanes, strict=True)
        self._recent = [[self._own.read(prompt, lane.without_context)] for prompt, lane in read]

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """Read the last tokens of all beams."""
        keep = self._ngrams.order - 1
        parents = self._parents or [[0] * tokens.shape[1]] * tokens.shape[0]
        self._recent = [
            [(*self._recent[lane][parent], token)[-keep:] if keep else () for parent, token in zip(*beams, strict=True)]
            for lane, beams in enumerate(zip(parents, tokens.tolist(), strict=True))
        ]

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]."""
        self._parents = parent.tolist()

    def compact(self) -> None:
        """Nothing is kept that could be dropped."""

    def logits(self, expert: Float[Tensor, "lane beam vocab"]) -> Float[Tensor, "lane beam vocab"]:
        """Log-probabilities; tokens beyond the counted vocabulary are as rare as the rarest."""
        rows: dict[Tokens, Tensor] = {}
        for beams in self._recent:
            for recent in beams:
                if recent not in rows:
                    rows[recent] = self._ngrams.log_probs(recent)
        found = torch.stack([torch.stack([rows[recent] for recent in beams]) for beams in self._recent])
        missing = self._vocab - found.shape[-1]
        if missing > 0:
            found = torch.nn.functional.pad(found, (0, missing), value=float(found.min()))
        return found.to(self._device)


class Ngram(AmateurKind):
    """Counts over the expert's tokens, of the source's texts that are not prompts."""

    name = "ngram"
    on_host = True
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
