"""Energy by the hardware's own counters: the GPU's (NVML) or the processor package's (RAPL, Linux).

Both count everything that runs there, other programs included. Where there is no counter, or none that this user may
read, the energy is not known: NaN, never 0.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

RAPL = Path("/sys/class/powercap")


class Counter(Protocol):
    """Joules since some moment."""

    def joules(self) -> float:
        """Never falls."""


def open_counter(device: torch.device, rapl: Path = RAPL) -> Counter | None:
    """The counter of what the device takes; None where there is none that may be read."""
    if device.type == "cuda":
        return _gpu(device)
    return _packages(rapl) if device.type == "cpu" else None


class Rapl:
    """Processor packages, each with a counter of microjoules that starts again at its range.

    Args:
        packages: their folders, with `energy_uj` and `max_energy_range_uj`.
    """

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._ranges = [_number(package / "max_energy_range_uj") for package in packages]
        self._last = [_number(package / "energy_uj") for package in packages]
        self._total = 0

    def joules(self) -> float:
        """Since it was opened; read it at least once a wrap (minutes)."""
        for place, package in enumerate(self._packages):
            value = _number(package / "energy_uj")
            step = value - self._last[place]
            self._total += step if step >= 0 else step + self._ranges[place]
            self._last[place] = value
        return self._total / 1e6


class Nvml:
    """A GPU's own count of millijoules. Args: read: asks the driver."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read

    def joules(self) -> float:
        """Since the driver was loaded."""
        return self._read() / 1e3


def _packages(rapl: Path) -> Rapl | None:
    """Packages only: their parts (cores, memory on some) are counted within them."""
    packages = [path for path in sorted(rapl.glob("*rapl:*")) if path.name.count(":") == 1]
    try:
        return Rapl(packages) if packages else None
    except (OSError, ValueError):  # readable by root alone on most systems
        return None


def _number(path: Path) -> int:
    return int(path.read_text())


def _gpu(device: torch.device) -> Nvml | None:
    """Open the driver's library for the GPU that torch uses, where its Python binding (nvidia-ml-py) is installed."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:
        return None
    return Nvml(lambda: int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)))
