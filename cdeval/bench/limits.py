"""The hardware's limits: how near decoding one prompt comes to reading the weights and doing nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cdeval.bench.arms import BF16, F32, OURS, BenchSearch, label
from cdeval.bench.models import Models
from cdeval.bench.plan import GroupResult
from cdeval.config.enums import Dtype
from cdeval.cost.bandwidth import Bandwidth, step_bytes

_DTYPES: tuple[Dtype, ...] = (BF16, F32)


@dataclass(frozen=True, slots=True)
class Limits:
    """Lower bounds on the time of a step of one prompt."""

    bandwidth: dict[str, float]  # bytes a second, by the way they were moved
    weight_bytes: dict[str, int]  # that one step reads, by number format
    ms_per_step: dict[str, float]  # by number format

    @classmethod
    def from_models(cls, models: Models, bandwidth: Bandwidth) -> Self:
        """Compute the limits of the expert on this machine."""
        sizes = {dtype.name: step_bytes(models.expert(dtype)) for dtype in _DTYPES}
        milliseconds = {name: 1e3 * size / bandwidth.read for name, size in sizes.items()}
        return cls({"summed": bandwidth.summed, "copied": bandwidth.copied}, sizes, milliseconds)

    def lines(self, results: Mapping[str, GroupResult]) -> list[str]:
        """A line a number format, with the share of the limit that the engine reached where it was timed."""
        timings = results["single"].timings if "single" in results else {}
        found = []
        for dtype in _DTYPES:
            least = self.ms_per_step[dtype.name]
            line = (
                f"limit {dtype.name}: {self.weight_bytes[dtype.name] / 1e6:.0f} MB of weights in {least:.1f} ms a step"
            )
            for search in (BenchSearch.plain, BenchSearch.contrast):
                timing = timings.get(label(OURS, search, dtype))
                line += f"; ours {search.name} {least / timing.ms_per_step:.0%} of that speed" if timing else ""
            found.append(line)
        return found
