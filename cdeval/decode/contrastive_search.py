"""Contrastive search (Su et al. 2022, "A Contrastive Framework for Neural Text Generation", section 3.2).

    V_k    = the k most probable next tokens v
    score  = (1 − α) p(v | x)  −  α max_j cos(h_v, h_j)        over all tokens j before v, the prompt's included

h is the last hidden state, as the head reads it (after the final norm), of v read after the text; so the candidates
must be read before one is chosen. They are read together, as the beams of a lane: one parent, k rows, and the chosen
row's hidden state is what the head turns into the next candidates: k rows a token and no second forward pass.

    step     candidates, read        chosen    its children
    0        the  a   one            a
    1        dog  cat man            man       all three descend from `a`; the cache drops `the` and `one` when it
    2        who  sat ran            ...       is compacted

Banned tokens have p = 0 and are not proposed; the others' p is not re-normalised. Scores have no unit.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from cdeval.config.setting import Setting
from cdeval.decode.beam import Choice
from cdeval.decode.fixed_cache import bucket_of
from cdeval.decode.steps import Step, put_at_step


class ContrastiveSearch:
    """The hidden states of every lane's text so far, and which candidate was chosen last."""

    state = ("best", "hidden", "_length")

    def __init__(self, settings: Sequence[Setting], device: torch.device) -> None:
        penalties = [setting.penalty for setting in settings]
        self._alpha: Float[Tensor, "lane 1"] = torch.tensor(penalties, dtype=torch.float32, device=device)[:, None]
        self._new_tokens = settings[0].max_new_tokens
        self._seen: Tensor = torch.empty(0)  # [lane, position, width], each of length 1
        self._length: Step = 0
        self.best: Int[Tensor, "lane 1"] = torch.zeros(len(settings), 1, dtype=torch.long, device=device)
        self.hidden: Tensor = torch.empty(0)  # [lane, 1, width], of the chosen ones, for the head

    def open(self, prompts: Float[Tensor, "lane position width"]) -> None:
        """Take in the hidden states of the prompts."""
        lanes, length, width = prompts.shape
        self._length = length
        # Whole buckets, so that prompts of like lengths have one shape.
        self._seen = prompts.new_zeros(lanes, bucket_of(length + self._new_tokens), width, dtype=torch.float32)
        self._seen[:, :length] = normalize(prompts.float(), dim=-1)

    def children(self, choice: Choice, totals: Float[Tensor, "lane parent"]) -> Choice:
        """Proposals as children of the candidate that was chosen last, each with its parent's total or impossible."""
        parent = self.best.expand_as(choice.token)
        total = torch.where(choice.total == -torch.inf, choice.total, totals.gather(1, parent))
        return Choice(parent, choice.token, total)

    def choose(
        self,
        hidden: Float[Tensor, "lane candidate width"],
        log_p: Float[Tensor, "lane candidate"],
        totals: Float[Tensor, "lane candidate"],
    ) -> Float[Tensor, "lane candidate"]:
        """Choose among the candidates that were read; returns the totals, -inf for all but the chosen one.

        `totals` are the parent's, -inf for a candidate that is none.
        """
        unit = normalize(hidden.float(), dim=-1)
        similar = self._similar(unit).amax(dim=-1)
        scores = (1 - self._alpha) * log_p.exp() - self._alpha * similar
        # By the scores of this step: the totals are rounded, and would tie where these do not.
        possible = scores.masked_fill(totals == -torch.inf, -torch.inf)
        self.best = possible.argmax(dim=-1, keepdim=True)
        row = self.best[..., None].expand(-1, -1, hidden.shape[-1])
        self.hidden = hidden.gather(1, row)
        put_at_step(self._seen, self._length, unit.gather(1, row)[:, 0], dim=1)
        self._length = self._length + 1
        chosen = (totals + possible).gather(1, self.best)
        return torch.full_like(totals, -torch.inf).scatter(1, self.best, chosen)

    def _similar(self, unit: Float[Tensor, "lane candidate width"]) -> Float[Tensor, "lane candidate position"]:
        """The cosines with all tokens before, and -inf where there is none yet."""
        if isinstance(self._length, int):
            return unit @ self._seen[:, : self._length].transpose(1, 2)
        ahead = torch.arange(self._seen.shape[1], device=unit.device) >= self._length
        return (unit @ self._seen.transpose(1, 2)).masked_fill(ahead, -torch.inf)
