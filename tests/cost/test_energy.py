"""Energy from counters on disk."""

from pathlib import Path

import torch

from cdeval.cost.energy import Rapl, open_counter

CPU = torch.device("cpu")


def package(folder: Path, name: str, energy: int, at_most: int = 1_000_000_000) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{at_most}\n")
    return path


def test_no_counter_is_none(tmp_path: Path) -> None:
    assert open_counter(CPU, tmp_path) is None
    broken = package(tmp_path, "intel-rapl:0", 1)
    (broken / "energy_uj").write_text("")
    assert open_counter(CPU, tmp_path) is None, "a counter that cannot be read is none"


def test_packages_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    """Kills: counting the cores of a package beside the package."""
    first, second = package(tmp_path, "intel-rapl:0", 5_000_000), package(tmp_path, "intel-rapl:1", 0)
    part = package(tmp_path, "intel-rapl:0:0", 0)
    counter = open_counter(CPU, tmp_path)
    assert counter is not None
    (first / "energy_uj").write_text("8000000")
    (second / "energy_uj").write_text("500000")
    (part / "energy_uj").write_text("2000000")
    assert counter.joules() == 3.5


def test_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    path = package(tmp_path, "intel-rapl:0", 900, at_most=1000)
    counter = Rapl([path])
    (path / "energy_uj").write_text("100")
    assert counter.joules() == 200 / 1e6
    (path / "energy_uj").write_text("150")
    assert counter.joules() == 250 / 1e6
