"""Many lanes, batch by batch: which share forward passes, and what happens when memory runs out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Compile
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.engine import decode_batch
from cdeval.decode.guard import is_out_of_memory
from cdeval.decode.lanes import BatchStats, Continuation, Lane
from cdeval.errors import ModelError
from cdeval.models.loading import LanguageModel


class Batch(NamedTuple):
    """The results of one forward-pass group, in the order of its lanes."""

    lanes: tuple[int, ...]  # indices into the lanes that `decode` was given
    continuations: tuple[Continuation, ...]
    stats: BatchStats


def plan_batches(lanes: Sequence[Lane], max_lanes: int) -> list[list[int]]:
    """Indices of the lanes that share forward passes: equal shapes, at most `max_lanes`, otherwise in the given order.

    Equal prompt lengths mean that nothing is ever padded.
    """
    by_shape = sorted(range(len(lanes)), key=lambda i: repr(lanes[i].shape))
    groups = [list(group) for _, group in groupby(by_shape, key=lambda i: lanes[i].shape)]
    groups.sort(key=min)
    return [group[start : start + max_lanes] for group in groups for start in range(0, len(group), max_lanes)]


def decode(  # noqa: PLR0913 - named arguments, most with a default
    expert: LanguageModel,
    lanes: Sequence[Lane],
    *,
    max_lanes: int,
    compact_every: int,
    compiling: Compile = Compile.auto,
    amateur_models: Mapping[Amateur, AmateurModel] = MappingProxyType({}),
    on_step: Callable[[int], None] = lambda _tokens: None,
    say: Callable[[str], None] = lambda _line: None,
) -> Iterator[Batch]:
    """Continue all lanes, batch by batch, so that finished texts can be stored while others are decoded.

    Args:
        expert: the model; lanes with an early-exit amateur use its own blocks.
        lanes: prompts and settings, in any mixture.
        max_lanes: in one forward pass.
        compact_every: steps between compactions of the cache; 0 never compacts.
        compiling: whether a step is one program, as `execution.compile`.
        amateur_models: what the lanes' amateurs are made of, beside the expert.
        on_step: told after every step how many tokens the lanes of the batch gained; fewer than none where a batch
            that ran out of memory starts again.
        say: told in one line when that happens.

    Raises: ModelError: not even one lane fits in memory. ConfigError: a step is to be compiled, and cannot be.
    """
    pending = plan_batches(lanes, max_lanes)
    while pending:
        indices = pending.pop(0)
        if len(indices) > max_lanes:
            pending.insert(0, indices[max_lanes:])
            indices = indices[:max_lanes]
        gained = _Tally(on_step)
        try:
            continuations, stats = decode_batch(
                expert, [lanes[i] for i in indices], compact_every, gained.add, amateur_models, compiling=compiling
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(indices) == 1:
                raise ModelError(
                    f"{expert.name} runs out of memory on one prompt: lower search.beams or search.max_new_tokens, "
                    "or choose a smaller expert or expert.dtype=bfloat16."
                ) from error
        else:
            yield Batch(tuple(indices), tuple(continuations), stats)
            continue
        # Outside the handler, where the traceback no longer holds the failed batch's tensors.
        gained.take_back()
        pending.insert(0, indices)
        max_lanes = (len(indices) + 1) // 2
        say(f"out of memory with {len(indices)} lanes at once: going on with execution.max_lanes={max_lanes}")


class _Tally:
    """Passes on what a batch gained, and can take all of it back."""

    def __init__(self, on_step: Callable[[int], None]) -> None:
        self._on_step = on_step
        self._total = 0

    def add(self, tokens: int) -> None:
        self._total += tokens
        self._on_step(tokens)

    def take_back(self) -> None:
        self._on_step(-self._total)
