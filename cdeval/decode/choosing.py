"""The choice of a step: from the rows that the head reads to the extensions of every lane that go on.

Lanes are taken in parts. Where the amateurs' logits of the plausible tokens suffice, no others are worked out (the
*candidate-only head*).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.enums import SearchKind
from cdeval.config.setting import Setting
from cdeval.decode.amateurs.batch import AmateurPart, Amateurs
from cdeval.decode.beam import Choice
from cdeval.decode.lanes import Lane
from cdeval.decode.objective import CANDIDATES, ban, log_probs
from cdeval.decode.searches import NextTokens, Search, open_search
from cdeval.decode.steps import Step
from cdeval.decode.watch import Watch
from cdeval.models.loading import LanguageModel

# Lanes whose scores are worked out together on a CPU: few enough for the vocabulary-wide intermediate tensors to stay
# in the processor's cache and below the size at which the allocator asks the system for fresh pages every step.
LANES_AT_ONCE = 2


class Texts(NamedTuple):
    """What a step knows of the texts so far."""

    totals: Float[Tensor, "lane beam"]  # of the objective
    ended: Bool[Tensor, "lane row"]  # beams that are none: of texts that ended, for want of others
    step: Step  # tokens that each has


def needs_whole_vocabulary(settings: Sequence[Setting]) -> bool:
    """Whether no few candidates will do: without an amateur a draw may fall, and a rule may leave, on any token."""
    drawn = settings[0].search is SearchKind.sample
    return any(one.masks_alone or (drawn and not one.amateur.contrasts) for one in settings)


class Chooser:
    """The objective and the search of a batch's lanes."""

    state = ("crowded",)

    def __init__(  # noqa: PLR0913 - two of them switches
        self,
        expert: LanguageModel,
        lanes: Sequence[Lane],
        amateurs: Amateurs,
        ends: int,
        banned: Int[Tensor, " banned"],
        *,
        candidate_head: bool,
        asks: bool,
    ) -> None:
        """Open the search.

        Args:
            expert: whose head it is.
            lanes: of one shape.
            amateurs: of these lanes.
            ends: tokens that may end a text.
            banned: tokens that are never chosen.
            candidate_head: whether only plausible tokens' logits are worked out.
            asks: whether the host may ask at every step if more tokens are plausible than the candidate-only head looks
                at; otherwise `crowded` says so at the end.
        """
        count, device = len(lanes), expert.device
        size = LANES_AT_ONCE if device.type == "cpu" else count
        slices = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        self._parts = [(part, amateurs.part(part)) for part in slices]
        self._expert, self._amateurs, self._banned = expert, amateurs, banned
        self.search: Search = open_search(lanes, ends, expert.parts.head_weight.shape[0], device)
        self.candidate_head, self._asks = candidate_head, asks
        self.crowded = torch.zeros((), dtype=torch.bool, device=device)
        self.watch: Watch | None = None

    def force(self, search: Search) -> None:
        """Take the tokens that another search names, whatever they are."""
        self.search, self._banned = search, self._banned[:0]

    def choose(
        self,
        hidden: Float[Tensor, "lane beam head_width"],
        exit_rows: list[Float[Tensor, "row beam head_width"]],
        texts: Texts,
    ) -> tuple[Choice, Float[Tensor, "lane choice"]]:
        """The extensions of all lanes that go on, and the expert's log-probability of each one's token.

        Args:
            hidden: what the expert's head reads.
            exit_rows: what it reads for early exits, if there are any.
            texts: that are extended.
        """
        lanes = hidden.shape[0]
        logits = self._expert.parts.logits(hidden if self.candidate_head else torch.cat([hidden, *exit_rows]))
        amateur_rows = exit_rows[0] if self.candidate_head else self._amateurs.logits(logits, texts.step)
        found = [
            self._of_part(logits[:lanes][part], amateur_rows[amateur.rows], part, amateur, texts)
            for part, amateur in self._parts
        ]
        choice = Choice(*(torch.cat(columns) for columns in zip(*(of_part for of_part, _ in found), strict=True)))
        return choice, torch.cat([picked for _, picked in found])

    def _of_part(
        self,
        expert_logits: Float[Tensor, "lane beam vocab"],
        amateur_rows: Float[Tensor, "contrasted beam width"],
        part: slice,
        amateur: AmateurPart,
        texts: Texts,
    ) -> tuple[Choice, Float[Tensor, "lane choice"]]:
        """Choose as `choose` does. `amateur_rows` are logits, or what the candidate-only head makes them of."""
        totals, ended, step = texts.totals[part], texts.ended[part], texts.step
        log_expert = ban(log_probs(expert_logits), self._banned)
        if not self.candidate_head:
            scores = amateur.scores(log_expert, amateur_rows)
            if self.watch is not None:
                self.watch.scored(log_expert, amateur.log_probs(log_expert, amateur_rows), scores)
            choice = self.search.choose(part, step, NextTokens(scores, totals, log_expert, ended))
            return choice, log_expert.flatten(1).gather(1, choice.parent * log_expert.shape[-1] + choice.token)
        found = amateur.candidates(log_expert, max(CANDIDATES, self.search.count), widen=self._asks)
        self.crowded = self.crowded | found.crowded
        log_expert, tokens = found.log_expert, found.tokens
        amateur_logits = self._expert.parts.logits_of(amateur_rows, amateur.contrasted(tokens))
        scores = amateur.scores(log_expert, amateur_logits, found.masked)
        choice = self.search.choose(part, step, NextTokens(scores, totals, log_expert, ended, tokens))
        place = choice.parent * scores.shape[-1] + choice.token
        choice = choice._replace(token=tokens.flatten(1).gather(1, place))
        return choice, log_expert.flatten(1).gather(1, place)
