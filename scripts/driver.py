"""How many texts a second the driver of a study can take, and in how much memory: everything real but the decoding.

    python scripts/driver.py 1000000        # prompts of one point
    python scripts/driver.py 5000 200       # prompts of each of so many points

Plan, hand-out, run folder and ledger are those of `cdeval.run` with `execution=ray`; the workers are imaginary and
answer at once. All prompts are alike, but for their ids. What is printed is docs/scaling.md's.
"""

import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import psutil

from cdeval.config.points import Point, Role
from cdeval.config.schema import ExpertConfig, RunConfig
from cdeval.config.setting import expert_alone, setting_of
from cdeval.records import Generation, Prompt
from cdeval.store.folder import GENERATIONS
from cdeval.store.ledger import Capacity, Ledger
from cdeval.store.signals import Stop
from cdeval.study.executor import DecodedUnit
from cdeval.study.open import LoadedStudy
from cdeval.study.point_store import PointRecord, PointStore
from cdeval.study.ray import finish
from cdeval.study.ray_cluster import Workers
from cdeval.study.ray_pool import RayPool, WorkerReport
from cdeval.study.units import TextTask, Unit, UnitTexts

LANES = 64  # texts a unit
TOKENS = 256  # new ones, of a large vocabulary
VOCABULARY = 262_144
WORKERS = Workers(workers=64, threads=1, gpus=1)
_WORDS = "and so it went on, " * 55  # about as many characters as 256 tokens of English


class Simulated(NamedTuple):
    """What it took."""

    texts: int
    seconds: float  # from the first unit to the last text on disk
    planned_bytes: int  # resident before the first unit: prompts and plan
    growth_bytes: int  # resident, most above that while texts were stored
    stored_bytes: int  # on disk
    read_bytes: int  # resident, above all that, with every text read back to be scored


class _Pool:
    """Workers that answer at once."""

    size = WORKERS.workers

    def __init__(self) -> None:
        self._held: deque[tuple[int, Unit]] = deque()
        self.first = self.most = 0  # resident bytes, at the first report and at the fullest

    def give(self, worker: int, work: Unit) -> None:
        """Remember it."""
        self._held.append((worker, work))

    def reports(self) -> list[WorkerReport[UnitTexts]]:
        """Answer the oldest."""
        worker, unit = self._held.popleft()
        self.first = self.first or resident()
        self.most = max(self.most, resident())
        return [WorkerReport(worker, UnitTexts([_made(text) for text in unit.texts], LANES))]


def simulate(prompts: int, points: int, root: Path) -> Simulated:
    """A study decoded by nobody.

    Args:
        prompts: of each point.
        points: how many.
        root: of the study; a new folder.
    """
    ids, text = tuple(range(1000, 1032)), "The beginning of an article of about thirty words. " * 3
    asked = [Prompt(f"article-{number}", text, ids, _WORDS, ids) for number in range(prompts)]
    config = RunConfig(expert=ExpertConfig(name="imaginary"), runs=str(root.parent), study=root.name)
    setting = expert_alone(setting_of(config))
    rows = [Point(Role.arm, setting, "imaginary", f"{number:08}" * 8) for number in range(points)]
    parts = SimpleNamespace(head_weight=SimpleNamespace(shape=(VOCABULARY, 1)))
    models: Any = SimpleNamespace(expert=SimpleNamespace(dtype_name="bfloat16", parts=parts))
    ledger = Ledger(root, lambda _line: None)
    found: Any = SimpleNamespace(prompts=asked)
    study = LoadedStudy(config, ledger, models, [], found, [], [], lambda _line: None)
    pool = _Pool()
    started = time.perf_counter()
    records = {point: PointRecord({}, {}) for point in rows}
    with PointStore(study, records, Capacity({setting.beams: LANES}, 8, True)) as store:
        units = store.plan()
        for done in finish(cast("RayPool[Unit, UnitTexts]", pool), store.remaining(units), 2, Stop(), study.say):
            assert done.texts is not None  # noqa: S101 - these workers never fail
            store.add(DecodedUnit(done.unit, done.texts))
        seconds = time.perf_counter() - started
        planned, growth = pool.first, pool.most - pool.first
        before = resident()
        texts = store.texts()
        read = resident() - before
        count = sum(map(len, texts.values()))
    return Simulated(
        count, seconds, planned, growth, sum(path.stat().st_size for path in root.glob(f"*/{GENERATIONS}")), read
    )


def resident() -> int:
    """Bytes of this process in memory."""
    size: int = psutil.Process().memory_info().rss
    return size


def _made(text: TextTask) -> Generation:
    prompt = text.prompt
    tokens = tuple(range(40_000, 40_000 + TOKENS))
    return Generation(
        prompt.id, prompt.text, prompt.token_ids, prompt.reference, _WORDS, tokens, -512.0, -256.0, text.sample
    )


def main(prompts: int, points: int = 1) -> None:
    """Simulate and say so."""
    with tempfile.TemporaryDirectory() as folder:
        found = simulate(prompts, points, Path(folder) / "study")
    gib = 2.0**30
    sys.stdout.write(
        f"{found.texts} texts of {TOKENS} tokens: {found.texts / found.seconds:.0f} a second, "
        f"{found.stored_bytes / found.texts:.0f} bytes each on disk\n"
        f"resident before the first unit {found.planned_bytes / gib:.2f} GiB, most growth while storing "
        f"{found.growth_bytes / gib:.3f} GiB, read back to be scored {found.read_bytes / gib:.2f} GiB more "
        f"({found.read_bytes / found.texts:.0f} bytes a text)\n"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
