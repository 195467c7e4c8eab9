"""The searches: the part of a step that chooses the next tokens by their scores.

Beam and greedy search take the best extensions, sampling draws one, and contrastive search proposes the most probable
ones, which `cdeval.decode.contrastive_search` then chooses from.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.enums import Pool, SearchKind
from cdeval.decode.beam import Choice, best_extensions, best_of_pool
from cdeval.decode.draws import draw_keys, exponentials, stack_keys, token_bits
from cdeval.decode.lanes import Lane
from cdeval.decode.steps import Step, at_step
from cdeval.decode.warping import Warping, warp, warping


class NextTokens(NamedTuple):
    """The tokens that some lanes may go on with, and their scores."""

    scores: Float[Tensor, "lane beam token"]  # the objective's
    totals: Float[Tensor, "lane beam"]  # of the texts so far
    local: Float[Tensor, "lane beam token"]  # the expert's log-probabilities
    ended: Bool[Tensor, "lane beam"]  # beams that are none: of texts that ended, for want of others
    tokens: Int[Tensor, "lane beam token"] | None = None  # ids of the tokens; None: the whole vocabulary


@runtime_checkable
class Search(Protocol):
    """One batch's way to choose."""

    count: int  # extensions of a lane that it names

    def choose(self, part: slice, step: Step, found: NextTokens) -> Choice:
        """The extensions of some lanes that go on, best first, by their places among the scores.

        Args:
            part: which lanes of the batch.
            step: tokens chosen before; a number that lies on the device is not the first one's.
            found: what these lanes may go on with.
        """


def open_search(lanes: Sequence[Lane], ends: int, vocab: int, device: torch.device) -> Search:
    """The search of a batch whose lanes have equal shapes; `ends` tokens may end a text."""
    setting = lanes[0].setting
    if setting.search is SearchKind.sample:
        return Draws(lanes, vocab, device)
    if setting.search is SearchKind.contrastive_search:
        return Proposals(setting.beams)
    if setting.pool is Pool.local:
        return PooledExtensions(setting.beams, ends)
    return BestExtensions(setting.beams, ends)


class BestExtensions:
    """Beam search, and greedy search, which has one beam."""

    def __init__(self, beams: int, ends: int) -> None:
        # With e ends, that many of each beam's best extensions may end it; the rest must still fill all beams.
        self.count = beams * max(2, 1 + ends) if ends else beams

    def choose(self, part: slice, step: Step, found: NextTokens) -> Choice:
        """Choose by the accumulated score."""
        return best_extensions(found.scores, found.totals, self.count)


class PooledExtensions(BestExtensions):
    """Beam search as the code of Li et al. (2022) does it, see `Pool.local`: two pairs a beam, whatever may end."""

    def __init__(self, beams: int, ends: int) -> None:
        super().__init__(beams, ends)
        self._pool, self._ends = 2 * beams, ends
        self._chosen = self._pool if ends else beams  # those that end a text leave room for the others

    def choose(self, part: slice, step: Step, found: NextTokens) -> Choice:
        """Choose by the accumulated score, among the pairs that are most probable at this step."""
        if isinstance(step, int) and step == 0:
            return best_extensions(found.scores, found.totals, self.count)
        # Of 2 * beams pairs, one end token can take half and leaves enough; several may leave beams that are none.
        local = found.local.masked_fill(found.ended[..., None], -torch.inf) if self._ends > 1 else found.local
        return best_of_pool(found.scores, found.totals, local, self._pool, self._chosen)


class Proposals:
    """Contrastive search: the k most probable tokens, unweighed; their totals say only which are impossible."""

    def __init__(self, candidates: int) -> None:
        self.count = candidates

    def choose(self, part: slice, step: Step, found: NextTokens) -> Choice:
        """Choose by the probability alone."""
        return best_extensions(found.scores, torch.zeros_like(found.scores[..., 0]), self.count)


class Draws:
    """Sampling: one token a lane, from the softmax of its scores as its settings narrow it.

    A text's score is the sum of the objective over its tokens, unnarrowed, so that arms compare.
    """

    count = 1

    def __init__(self, lanes: Sequence[Lane], vocab: int, device: torch.device) -> None:
        samplings = [lane.setting.sampling for lane in lanes]
        self._warping = warping(samplings, device)
        self._of_parts: dict[tuple[int, int], Warping] = {}
        steps = lanes[0].setting.max_new_tokens
        drawn = [draw_keys(one.seed, lane.id, lane.sample, steps) for lane, one in zip(lanes, samplings, strict=True)]
        self._keys = stack_keys(drawn, device)
        self._bits = token_bits(vocab, device)

    def choose(self, part: slice, step: Step, found: NextTokens) -> Choice:
        """The winner of a race of exponentials, see `cdeval.decode.draws`."""
        bits = self._bits[None, None] if found.tokens is None else self._bits[found.tokens]
        keys = at_step(self._keys[part], step, dim=1)
        race = warp(found.scores, self._of_part(part)) - exponentials(bits, keys).log_()
        place = race.argmax(dim=-1)
        won = race.gather(-1, place[..., None])[..., 0]
        total = found.totals + found.scores.gather(-1, place[..., None])[..., 0]
        # Where nobody runs (a temperature that divides every score to -inf), nobody has won.
        return Choice(torch.zeros_like(place), place, total.masked_fill(~won.isfinite(), torch.nan))

    def _of_part(self, part: slice) -> Warping:
        """The settings of some lanes, selected once."""
        key = part.start, part.stop
        if key not in self._of_parts:
            self._of_parts[key] = self._warping.for_lanes(part)
        return self._of_parts[key]
