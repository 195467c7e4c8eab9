"""The endings of texts that end by themselves (`search.ban=none`).

Beam search keeps the best ended text of a lane beside its living beams, as Hugging Face does with length_penalty=0: an
end-of-text token among the `beams` best extensions ends a text, whose score then stands still. Every other search takes
the first end. Contrastive scores can rise as well as fall, so an ended text never proves the living ones beaten: those
lanes run to the full length.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.decode.beam import Choice
from cdeval.decode.steps import Step, with_step


@dataclass(frozen=True, slots=True)
class Ending:
    """The place where a lane's text ends, and its score."""

    step: int  # last step whose token belongs to the text; -1 for an empty text
    beam: int
    score: float
    logprob_expert: float
    ended: bool  # by an end-of-text token
    token: int  # which one; -1: none


class Endings:
    """The best ended text of every lane so far, on the device."""

    state = ("_score", "_logprob", "_step", "_beam", "_token", "_ended")

    def __init__(self, scores_only_fall: Bool[Tensor, " lane"], *, first_wins: bool) -> None:
        """`scores_only_fall`: lanes of the expert alone, whose living texts an ended one can prove beaten."""
        lanes, device = len(scores_only_fall), scores_only_fall.device
        self._first_wins, self._falls = first_wins, scores_only_fall
        self._score: Float[Tensor, " lane"] = torch.full((lanes,), -torch.inf, device=device)
        self._logprob: Float[Tensor, " lane"] = torch.zeros(lanes, device=device)
        self._step: Int[Tensor, " lane"] = torch.full((lanes,), -1, dtype=torch.long, device=device)
        self._beam: Int[Tensor, " lane"] = torch.zeros(lanes, dtype=torch.long, device=device)
        self._token: Int[Tensor, " lane"] = torch.full((lanes,), -1, dtype=torch.long, device=device)
        self._ended: Bool[Tensor, " lane"] = torch.zeros(lanes, dtype=torch.bool, device=device)

    def note(
        self,
        choice: Choice,
        ends: Bool[Tensor, "lane choice"],
        logprob: Float[Tensor, "lane choice"],
        step: Step,
        beams: int,
    ) -> None:
        """Take in the extensions of a step; only those among the `beams` best can end a text.

        `logprob` is the expert's accumulated log-probability of each extension, the end token's included.
        """
        score, rank = choice.total[:, :beams].masked_fill(~ends[:, :beams], -torch.inf).max(dim=-1)
        better = score > self._score
        if self._first_wins:
            better &= ~self._ended
        self._score = torch.where(better, score, self._score)
        self._logprob = torch.where(better, logprob.gather(1, rank[:, None])[:, 0], self._logprob)
        self._step = with_step(self._step, better, step - 1)
        self._beam = torch.where(better, choice.parent.gather(1, rank[:, None])[:, 0], self._beam)
        self._token = torch.where(better, choice.token.gather(1, rank[:, None])[:, 0], self._token)
        self._ended |= better

    def decided(self, totals: Float[Tensor, "lane beam"]) -> Bool[Tensor, " lane"]:
        """The lanes whose answer cannot change any more: an ended one, and no living text can be better."""
        if self._first_wins:
            return self._ended
        best = totals.amax(dim=-1)
        return self._ended & ((self._falls & (self._score >= best)) | (best == -torch.inf))

    def final(
        self, totals: Float[Tensor, "lane beam"], logprobs: Float[Tensor, "lane beam"], last_step: int
    ) -> list[Ending]:
        """Each lane's answer: its ended text, or the best living beam where that is better or nothing ended."""
        best, beam = totals.max(dim=-1)
        living_logprob = logprobs.gather(1, beam[:, None])[:, 0]
        take_ended = self._ended if self._first_wins else self._ended & (self._score >= best)
        columns = (
            torch.where(take_ended, self._step, last_step),
            torch.where(take_ended, self._beam, beam),
            torch.where(take_ended, self._score, best),
            torch.where(take_ended, self._logprob, living_logprob),
            take_ended,
            torch.where(take_ended, self._token, -1),
        )
        return [Ending(*answer) for answer in zip(*(column.tolist() for column in columns), strict=True)]
