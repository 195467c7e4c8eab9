"""A record of every step of one lane's search, for whoever asks why a text came out as it did.

Nothing here changes a choice: the engine shows what it has worked out anyway, and only the best few tokens of each
beam are kept. Once the text is known, `path` follows its beam back through the steps.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.decode.beam import Choice, largest
from cdeval.decode.endings import Ending


class Seen(NamedTuple):
    """One step; `beam` are the beams that were extended, `kept` those that went on, `best` the expert's likeliest."""

    tokens: Int[Tensor, "beam best"]
    log_expert: Float[Tensor, "beam best"]  # banned tokens at -inf, not re-normalised [nats]
    log_amateur: Float[Tensor, "beam best"]  # log softmax(z / T) [nats]; 0 where there is no amateur
    scores: Float[Tensor, "beam best"]  # of the objective [nats]
    plausible: Int[Tensor, " beam"]  # tokens that could be chosen, |V_head| but for redistributed scores
    expert_best: Int[Tensor, " beam"]  # the expert's likeliest token
    score_best: Int[Tensor, " beam"]  # the token of the best score
    parent: Int[Tensor, " kept"]  # beam that each one that goes on extends
    token: Int[Tensor, " kept"]
    total: Float[Tensor, " kept"]  # accumulated score [nats]
    of_token: Float[Tensor, "kept 3"]  # log_expert, log_amateur and score of that token


class Watch:
    """The steps of one lane, on the host."""

    def __init__(self, best: int) -> None:
        """`best` tokens of each beam are kept."""
        self.steps: list[Seen] = []
        self.ending: Ending | None = None  # of the text; None while it is being written
        self._best = best
        self._now: tuple[Tensor, Tensor, Tensor] | None = None

    def scored(
        self,
        log_expert: Float[Tensor, "1 beam vocab"],
        log_amateur: Float[Tensor, "contrasted beam vocab"],
        scores: Float[Tensor, "1 beam vocab"],
    ) -> None:
        """Every next token of every beam, before any is chosen; `log_amateur` has no row without an amateur."""
        of_amateur = log_amateur[0] if len(log_amateur) else torch.zeros_like(log_expert[0])
        self._now = log_expert[0], of_amateur, scores[0]

    def kept(self, choice: Choice) -> None:
        """The beams that go on. Raises: ValueError: before they were scored."""
        if self._now is None:
            raise ValueError("nothing was scored at this step")
        log_expert, log_amateur, scores = self._now
        _, tokens = largest(log_expert, min(self._best, log_expert.shape[-1]))
        parent, token = choice.parent[0], choice.token[0]
        seen = Seen(
            tokens=tokens,
            log_expert=log_expert.gather(-1, tokens),
            log_amateur=log_amateur.gather(-1, tokens),
            scores=scores.gather(-1, tokens),
            plausible=scores.isfinite().sum(dim=-1),
            expert_best=log_expert.argmax(dim=-1),
            score_best=scores.argmax(dim=-1),
            parent=parent,
            token=token,
            total=choice.total[0],
            of_token=torch.stack([values[parent, token] for values in self._now], dim=-1),
        )
        self.steps.append(Seen(*(values.cpu() for values in seen)))
        self._now = None

    def ended(self, ending: Ending) -> None:
        """Note where the text ends."""
        self.ending = ending

    def path(self) -> list[int]:
        """The text's own beam after each of its steps, first step first. Raises: ValueError: there is no text yet."""
        if self.ending is None:
            raise ValueError("nothing was decoded under this watch")
        found, beam = [], self.ending.beam
        for seen in reversed(self.steps[: self.ending.step + 1]):
            found.append(beam)
            beam = int(seen.parent[beam])
        return found[::-1]
