"""The continuations of a batch, read off the device: the first time that the host waits for it."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from cdeval.decode.beam import Choice, backtrack
from cdeval.decode.endings import Ending
from cdeval.decode.finite import Fault
from cdeval.decode.fixed_cache import bucket_of
from cdeval.decode.lanes import Continuation
from cdeval.decode.steps import Step, put_at_step


class Pointers:
    """Which beam each one came from at every step, and its token, on the device."""

    def __init__(self, steps: int, lanes: int, beams: int, device: torch.device, *, exiting: bool) -> None:
        """Make room for all steps; `exiting`: rows may exit early, and it is kept after how many blocks they do."""
        # In whole buckets: texts of like lengths have one shape.
        self._parents, self._tokens = (
            torch.zeros(bucket_of(steps), lanes, beams, dtype=torch.long, device=device) for _ in range(2)
        )
        self._depths = torch.zeros_like(self._tokens[: None if exiting else 0])

    def write(self, step: Step, choice: Choice) -> None:
        """Keep what a step has chosen."""
        put_at_step(self._parents, step, choice.parent)
        put_at_step(self._tokens, step, choice.token)

    def write_depths(self, step: Step, depths: Int[Tensor, "lane beam"]) -> None:
        """Keep how many blocks the rows went through that a step has read."""
        put_at_step(self._depths, step, depths)

    def read(self, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Move the first steps' to the host, [step, lane, beam] each.

        Returns: parents, tokens, and blocks of the rows that were read after the prompt; none where no row exits early.
        """
        return self._parents[:steps].cpu(), self._tokens[:steps].cpu(), self._depths[1:steps].cpu()


def read_answers(
    pointers: tuple[Tensor, Tensor, Tensor],
    endings: Sequence[Ending],
    faults: Sequence[Fault | None],
    exiting: Collection[int],
) -> list[Continuation]:
    """Every lane's continuation.

    Args:
        pointers: as `Pointers.read` returns them.
        endings: where each lane's text ends.
        faults: why a lane has no text.
        exiting: lanes whose expert may exit early.
    """
    parents, tokens, depths = pointers
    return [
        Continuation(
            token_ids=backtrack(parents, tokens, ending.step, lane, ending.beam),
            score=ending.score,
            logprob_expert=ending.logprob_expert,
            ended=ending.ended,
            end_token=ending.token if ending.ended else None,
            exit_layers=_rows(depths, lane, ending) if lane in exiting else (),
            fault=fault,
        )
        for lane, (ending, fault) in enumerate(zip(endings, faults, strict=True))
    ]


def _rows(depths: Int[Tensor, "step lane beam"], lane: int, ending: Ending) -> tuple[int, ...]:
    """Those that a lane read until its text ended, by an end token or by its length."""
    return tuple(depths[: ending.step + ending.ended, lane].flatten().tolist())
