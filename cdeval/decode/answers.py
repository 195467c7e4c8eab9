"""The continuations of a batch, read off the device: the first time that the host waits for it."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from cdeval.decode.beam import backtrack
from cdeval.decode.endings import Ending
from cdeval.decode.finite import Fault
from cdeval.decode.lanes import Continuation


def read_answers(
    pointers: Sequence[Sequence[Int[Tensor, "lane beam"]]],
    endings: Sequence[Ending],
    faults: Sequence[Fault | None],
    exiting: Collection[int],
) -> list[Continuation]:
    """Every lane's continuation.

    Args:
        pointers: of each step: the parents, the tokens, and how many blocks the rows read went through (none of these
            where nobody exits early).
        endings: where each lane's text ends.
        faults: why a lane has no text.
        exiting: lanes whose expert may exit early.
    """
    parents, tokens = (torch.stack(list(steps)).cpu() for steps in pointers[:2])
    depths = torch.stack(list(pointers[2])).cpu() if pointers[2] else tokens[:0]
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
