"""The input and output of a forward pass: lanes, continuations, and what they took."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.enums import Context, SearchKind
from cdeval.config.setting import Setting
from cdeval.decode.finite import Fault
from cdeval.records import Prompt


def index(places: Sequence[int], device: torch.device) -> Int[Tensor, " place"]:
    """Places as a tensor to look up or to write with; also none."""
    return torch.tensor(places, dtype=torch.long, device=device)


def column(values: Sequence[float], device: torch.device) -> Float[Tensor, "lane 1 1"]:
    """A number of each lane, to broadcast over beams and vocabulary."""
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]


class Lane(NamedTuple):
    """One prompt under one setting, once or as one of several samples."""

    prompt: tuple[int, ...]
    setting: Setting
    id: str = ""  # of the prompt; id and sample say which random numbers are its own
    sample: int = 0
    without_context: tuple[int, ...] | None = None  # as `records.Prompt`

    @classmethod
    def from_prompt(cls, prompt: Prompt, setting: Setting, sample: int = 0) -> "Lane":
        """Make the lane of one text of a prompt."""
        return cls(prompt.token_ids, setting, prompt.id, sample, prompt.without_context)

    @property
    def shape(self) -> tuple[object, ...]:
        """The properties that lanes of one forward pass must share."""
        own = self.setting
        # Prompts of one length may be of several lengths without their contexts, and nothing is ever padded.
        alone = len(self.without_context or ()) if own.amateur.context is Context.removed else 0
        shape = len(self.prompt), own.search.value, own.beams, own.max_new_tokens, own.ban.value, own.pool.value
        if own.search is SearchKind.hf:  # made text by text, each with random numbers of its own
            return (*shape, own.generate, self.id, self.sample)
        return (*shape, alone) if alone else shape


@dataclass(frozen=True, slots=True)
class Continuation:
    """A lane's answer."""

    token_ids: tuple[int, ...]  # without the end-of-text token that may have ended it
    score: float  # the objective, summed [nats; contrastive search: no unit]; NaN: transformers made the text
    logprob_expert: float  # summed [nats]; NaN likewise
    ended: bool  # by an end-of-text token, whose score and log-probability are included
    end_token: int | None = None  # that ended it; None: not known, or it has not ended
    exit_layers: tuple[int, ...] = ()  # of the rows read after the prompt, as in `records.Generation`
    fault: Fault | None = None  # why this is no answer: nothing else here means anything then


@dataclass(frozen=True, slots=True)
class BatchStats:
    """The time and work of one batch of lanes."""

    lanes: int
    steps: int  # tokens a lane: forward passes, the prefill included; contrastive search takes one more
    step_seconds: tuple[float, ...]  # the prefill, until every lane has its first token, and each step after it
    wall_seconds: float  # all of them by a wall clock, the device idle before and after
    peak_slots: int  # most key-value slots a lane held at once
    amateur_slots: int = 0  # the same in the cache of an amateur with a forward pass of its own

    def after(self, given_up: "BatchStats") -> "BatchStats":
        """Add the time of the same batch's first attempt, step by step: its texts took both."""
        pairs = zip_longest(self.step_seconds, given_up.step_seconds, fillvalue=0.0)
        wall = self.wall_seconds + given_up.wall_seconds
        return replace(self, step_seconds=tuple(map(sum, pairs)), wall_seconds=wall)
