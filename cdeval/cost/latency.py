"""Wall-clock latency of single lanes, apart from the runs that make the texts.

Those decode many lanes together, so their time belongs to no arm. Here one prompt is decoded alone under each arm in
turn (A B A B ...), always to the full length, after a full-length warm-up of every arm: short warm-ups leave
allocations and kernels for the first timed pass to pay for, and a machine that slows down slows all arms alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from types import MappingProxyType

from cdeval.choices import Ban
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import BatchStats, Lane
from cdeval.decode.sources import Second
from cdeval.models.loading import LanguageModel
from cdeval.records import Amateur, Setting


@dataclass(frozen=True, slots=True)
class Latency:
    """Timed passes of one arm; the first token counts as prefill."""

    prefill_seconds: tuple[float, ...]  # a pass each
    decode_seconds: tuple[float, ...]  # of the n - 1 tokens after the first
    new_tokens: int  # n
    peak_slots: int  # most key-value slots the lane held in any pass; 0 without passes
    amateur_slots: int = 0  # the same in an amateur's own cache

    @property
    def prefill(self) -> float:
        """Median time to the first token [s]; NaN without passes."""
        return _median(self.prefill_seconds)

    @property
    def per_token(self) -> float:
        """Median time of a token after the first [s]; NaN without passes or with a single token."""
        if self.new_tokens < 2:
            return float("nan")
        return _median(self.decode_seconds) / (self.new_tokens - 1)


def measure(
    expert: LanguageModel,
    arms: Mapping[str, Setting],
    prompts: Sequence[tuple[int, ...]],
    repeats: int,
    compact_every: int,
    seconds: Mapping[Amateur, Second] = MappingProxyType({}),
) -> dict[str, Latency]:
    """Time every arm `repeats` times, interleaved; pass i uses prompt i (modulo their number) for all arms.

    Lengths are fixed by banning the end of text, so that an early end never looks like speed.
    """
    fixed = {label: replace(setting, ban=Ban.special) for label, setting in arms.items()}
    passes: dict[str, list[BatchStats]] = {label: [] for label in arms}
    for turn in range(repeats + 1 if repeats else 0):
        for label, setting in fixed.items():
            lane = Lane(prompts[turn % len(prompts)], setting)
            _, stats = decode_batch(expert, [lane], compact_every, seconds=seconds)
            if turn > 0:  # turn 0 is the warm-up
                passes[label].append(stats)
    return {
        label: Latency(
            prefill_seconds=tuple(stats.prefill_seconds for stats in timed),
            decode_seconds=tuple(stats.decode_seconds for stats in timed),
            new_tokens=arms[label].max_new_tokens,
            peak_slots=max((stats.peak_slots for stats in timed), default=0),
            amateur_slots=max((stats.amateur_slots for stats in timed), default=0),
        )
        for label, timed in passes.items()
    }


def _median(values: Sequence[float]) -> float:
    return median(values) if values else float("nan")
