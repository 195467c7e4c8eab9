"""Wall-clock latency of single lanes, apart from the runs that make the texts.

Those decode many lanes together, so their time belongs to no arm. Here one prompt is decoded alone under each arm in
turn (A B A B ...), always to the full length, after a full-length warm-up of every arm: short warm-ups leave
allocations and kernels for the first timed pass to pay for, and a machine that slows down slows all arms alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Compile
from cdeval.config.setting import Setting
from cdeval.cost.energy import Counter, open_counter
from cdeval.cost.load import OtherLoad
from cdeval.cost.memory import WorkingMemory
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import BatchStats, Lane
from cdeval.models.loading import LanguageModel
from cdeval.records import Prompt

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Latency:
    """Timed passes of one arm; the first token counts as prefill."""

    prefill_seconds: tuple[float, ...] = ()  # a pass each
    token_seconds: tuple[tuple[float, ...], ...] = ()  # pass by pass, of the n - 1 tokens after the first
    wall_seconds: tuple[float, ...] = ()  # a pass each, by a wall clock from an idle device to an idle device
    joules: tuple[float, ...] = ()  # a pass each; NaN without a counter
    peak_slots: int = 0  # most key-value slots the lane held in any pass; 0 without passes
    amateur_slots: int = 0  # the same in an amateur's own cache
    working_bytes: float = NAN  # most that a pass took on top of all weights
    other_load: float = NAN  # share of the processors that other programs took meanwhile, all arms together

    def per_token(self) -> list[float]:
        """Mean time of a token after the first, a pass each [s]; none of single tokens."""
        return [fmean(tokens) for tokens in self.token_seconds if tokens]


class _Pass(NamedTuple):
    stats: BatchStats
    joules: float
    working_bytes: float


def measure(  # noqa: PLR0913 - two arguments with a default
    expert: LanguageModel,
    arms: Mapping[str, Setting],
    prompts: Sequence[Prompt],
    repeats: int,
    compact_every: int,
    amateur_models: Mapping[Amateur, AmateurModel] = MappingProxyType({}),
    *,
    compiling: Compile = Compile.auto,
    passed: Callable[[], None] = lambda: None,
) -> dict[str, Latency]:
    """Time every arm `repeats` times, interleaved; pass i uses prompt i (modulo their number) for all arms.

    Lengths are fixed by banning the end of text, so that an early end never looks like speed. `passed` is called after
    each pass of an arm, the warm-up included.
    """
    fixed = {label: replace(setting, ban=Ban.special) for label, setting in arms.items()}
    if not repeats:
        return {label: Latency() for label in arms}
    counter = open_counter(expert.device)

    def in_turn(turn: int) -> dict[str, _Pass]:
        prompt = prompts[turn % len(prompts)]
        lanes = {
            label: Lane(prompt.token_ids, setting, without_context=prompt.without_context)
            for label, setting in fixed.items()
        }
        made = {}
        for label, lane in lanes.items():
            made[label] = _pass(expert, lane, compact_every, amateur_models, counter, compiling)
            passed()
        return made

    in_turn(0)  # the warm-up
    with OtherLoad() as others:
        turns = [in_turn(turn) for turn in range(1, repeats + 1)]
    return {label: _latency([turn[label] for turn in turns], others.share) for label in arms}


def _pass(
    expert: LanguageModel,
    lane: Lane,
    compact_every: int,
    amateur_models: Mapping[Amateur, AmateurModel],
    counter: Counter | None,
    compiling: Compile,
) -> _Pass:
    before = counter.joules() if counter else NAN
    with WorkingMemory(expert.device) as working:
        _, stats = decode_batch(expert, [lane], compact_every, amateur_models=amateur_models, compiling=compiling)
    return _Pass(stats, (counter.joules() if counter else NAN) - before, working.bytes)


def _latency(timed: Sequence[_Pass], other_load: float) -> Latency:
    return Latency(
        prefill_seconds=tuple(one.stats.step_seconds[0] for one in timed),
        token_seconds=tuple(one.stats.step_seconds[1:] for one in timed),
        wall_seconds=tuple(one.stats.wall_seconds for one in timed),
        joules=tuple(one.joules for one in timed),
        peak_slots=max((one.stats.peak_slots for one in timed), default=0),
        amateur_slots=max((one.stats.amateur_slots for one in timed), default=0),
        working_bytes=max((one.working_bytes for one in timed), default=NAN),
        other_load=other_load,
    )
