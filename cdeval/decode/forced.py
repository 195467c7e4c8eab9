"""The likelihood of texts that exist, under any setting: the engine reads them token by token and chooses nothing.

Every amateur follows a text as it does in decoding, so what is scored is what would have been scored there. The sum of
the objective over a text is a log-likelihood where the objective is a distribution: the expert alone, and the form
`redistributed` (O'Brien & Lewis 2023; auto-contrastive decoding, Gera et al. 2023), which shares the plausible tokens'
probability out by their contrast and leaves the expert's to all others.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Compile, Form, Pool, SearchKind
from cdeval.config.setting import Setting, expert_alone
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.beam import Choice
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.decode.searches import NextTokens
from cdeval.decode.steps import Step, at_step, put_at_step
from cdeval.models.loading import LanguageModel


class ReadText(NamedTuple):
    """The tokens of a text, and how many of them are the prompt's."""

    prompt: tuple[int, ...]  # at least one
    continuation: tuple[int, ...]


class Likelihood(NamedTuple):
    """What a setting says of a continuation."""

    log_p: float  # summed over its tokens [nats]
    greedy: bool  # whether each of its tokens is the one of the best score
    seconds: float  # of its batch, over the batch's texts


class ForcedTokens:
    """A search that takes given tokens, and keeps what is said of each."""

    count = 1

    def __init__(self, tokens: Int[Tensor, "lane step"]) -> None:
        self._tokens = tokens
        self.scores: Float[Tensor, "lane step"] = torch.zeros(tokens.shape, device=tokens.device)
        self.best: Bool[Tensor, "lane step"] = torch.zeros_like(tokens, dtype=torch.bool)

    def choose(self, part: slice, step: Step, found: NextTokens) -> Choice:
        """Take the next given token of some lanes."""
        token = at_step(self._tokens[part], step, dim=1)[:, None]
        score = found.scores[:, 0].gather(-1, token)
        put_at_step(self.scores[part], step, score[:, 0], dim=1)
        put_at_step(self.best[part], step, found.scores[:, 0].argmax(dim=-1) == token[:, 0], dim=1)
        return Choice(torch.zeros_like(token), token, found.totals + score)


def scoring_setting(setting: Setting, *, contrast: bool) -> Setting:
    """Make the setting under which the likelihoods of an arm's texts are read.

    Args:
        setting: of the arm.
        contrast: by the contrast's redistributed distribution; False: by the expert alone. An arm without an amateur,
            or whose search scores no tokens, has the expert's either way.
    """
    own = replace(
        expert_alone(setting) if not contrast or not setting.amateur.contrasts else setting,
        search=SearchKind.greedy,
        beams=1,
        ban=Ban.none,
        pool=Pool.all,
        penalty=0.0,
        generate="",
        adaptive_exit=None,
    )
    return replace(own, form=Form.redistributed) if own.amateur.contrasts else own


def likelihoods(
    expert: LanguageModel,
    texts: Sequence[ReadText],
    setting: Setting,
    amateur_models: Mapping[Amateur, AmateurModel],
    max_lanes: int,
    compiling: Compile = Compile.auto,
) -> Iterator[tuple[int, Likelihood]]:
    """Read texts batch by batch.

    Args:
        expert: the model.
        texts: with a continuation of at least one token each.
        setting: as `scoring_setting` makes it.
        amateur_models: what the amateur is made of, beside the expert.
        max_lanes: texts in one forward pass.
        compiling: as `execution.compile`; texts are of many lengths, so that `always` is refused.

    Yields: the place of a text, and what is said of it.
    """
    for batch in _batches(texts, setting, max_lanes):
        some = [texts[place] for place in batch]
        longest = max(len(text.continuation) for text in some)
        own = replace(setting, max_new_tokens=longest)
        # What is read behind the end of a shorter text is not counted.
        rows = [[*text.continuation, *text.continuation[-1:] * (longest - len(text.continuation))] for text in some]
        forced = ForcedTokens(torch.tensor(rows, dtype=torch.long, device=expert.device))
        lanes = [Lane(text.prompt, own, _name(text.prompt)) for text in some]
        _, stats = decode_batch(expert, lanes, 0, amateur_models=amateur_models, forced=forced, compiling=compiling)
        scores, best = forced.scores.double().cpu(), forced.best.cpu()
        for row, (place, text) in enumerate(zip(batch, some, strict=True)):
            length = len(text.continuation)
            log_p, greedy = float(scores[row, :length].sum()), bool(best[row, :length].all())
            yield place, Likelihood(log_p, greedy, stats.wall_seconds / len(batch))


def _batches(texts: Sequence[ReadText], setting: Setting, max_lanes: int) -> Iterator[list[int]]:
    """The places of texts that are read together: of one length of prompt, and of like lengths of continuation.

    An amateur whose threshold falls along a text is told how long the text is: then these are of one length, too.
    """
    exact = setting.amateur.threshold is not None

    def shape(place: int) -> tuple[int, int]:
        return len(texts[place].prompt), len(texts[place].continuation)

    ordered = sorted(range(len(texts)), key=shape)
    for _, group in groupby(ordered, key=lambda place: shape(place) if exact else shape(place)[:1]):
        places = list(group)
        yield from (places[start : start + max_lanes] for start in range(0, len(places), max_lanes))


def _name(prompt: Sequence[int]) -> str:
    """What the random numbers of an amateur that draws are made of: the continuations of one prompt share them."""
    return hashlib.sha256(" ".join(map(str, prompt)).encode()).hexdigest()[:16]
