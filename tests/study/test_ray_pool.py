"""Ray's actors as a pool: real processes, really killed. One cluster for all: it takes seconds."""

import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from cdeval.config.schema import ExecutionConfig
from cdeval.errors import ConfigError, WorkerError
from cdeval.store.locks import short_lock
from cdeval.study import ray_cluster as raycluster
from cdeval.study.ray import FinishedWork
from cdeval.study.ray_cluster import Workers, ray_cluster
from cdeval.study.ray_pool import RayPool, ray_pool
from tests.study.test_retries import Work, finish

pytest.importorskip("ray", reason="needs the extra [ray]")

TWO = Workers(workers=2, threads=1, gpus=0)
R = TypeVar("R")


def pool_of(
    workers: Workers, build: Callable[[], Callable[[Work], R]], **execution: float
) -> AbstractContextManager[RayPool[Work, R]]:
    return ray_pool(workers, build, ExecutionConfig(**execution), print)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """The second one of this process: Ray remembers the first one's token, and a new one would not open the second.

    Yields what heard SIGTERM before.
    """
    before = signal.getsignal(signal.SIGTERM)
    with ray_cluster(TWO):
        pass
    with ray_cluster(TWO):
        yield before


def squares() -> Callable[[], Callable[[Work], tuple[int, int, str | None]]]:
    """A builder for another process (nested, so that Ray sends it by value): sum of squares, process, threads."""

    def build() -> Callable[[Work], tuple[int, int, str | None]]:
        def act(work: Work) -> tuple[int, int, str | None]:
            if 13 in work:
                os.kill(os.getpid(), signal.SIGKILL)
            if 17 in work:
                raise ConfigError("seventeen is refused")
            return sum(one * one for one in work), os.getpid(), os.environ.get("OMP_NUM_THREADS")

        return act

    return build


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match=r"pip install 'cdeval\[ray\]'"), pool_of(TWO, squares()):
        pass


def test_an_address_without_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray looks for clusters among all processes, and would wait for one that another test is ending.
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", cache(set))
    lost = Workers(workers=1, threads=1, gpus=0, address="auto")
    wrong = pytest.raises(WorkerError, match=r"execution\.address=auto: no Ray cluster answers")
    with wrong, pool_of(lost, squares()):
        pass


@pytest.mark.long
def test_sigterm_stays_the_commands_own(cluster: object) -> None:
    """Ray's handler would exit before what runs is stored."""
    assert signal.getsignal(signal.SIGTERM) is cluster


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_a_piece_that_kills_its_worker_is_named_and_the_rest_is_done() -> None:
    works = [(1, 2), (3, 13, 4), (5, 17), (6,), (7, 8)]
    with pool_of(TWO, squares()) as pool:
        found = list(finish(pool, works, 2))
    lost = sorted(one for one in found if one.problem)
    assert lost == [
        FinishedWork((13,), None, "its worker process died"),
        FinishedWork((17,), None, "seventeen is refused"),
    ]
    answers = {one.unit: one.texts[0] for one in found if one.texts}
    assert answers == {(1, 2): 5, (3,): 9, (4,): 16, (5,): 25, (6,): 36, (7, 8): 113}
    done = [one.texts for one in found if one.texts]
    assert {threads for _, _, threads in done} == {"1"}
    assert os.getpid() not in {process for _, process, _ in done}


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_killed_or_hangs_loses_nothing() -> None:
    """A process that was stopped neither dies nor answers: it was waited for without a word."""
    killed = stopped = 0
    answers, lines = {}, []
    execution = ExecutionConfig(silence_s=0.5, replaced_s=1.5)
    with ray_pool(TWO, squares(), execution, lines.append) as pool:
        for one in finish(pool, [(number,) for number in range(20, 40)], 2, lines.append):
            assert one.texts
            answers[one.unit], process = one.texts[0], one.texts[1]
            if len(answers) == 5:
                killed = process
                os.kill(killed, signal.SIGKILL)
            elif killed and not stopped and process != killed:
                stopped = process
                os.kill(stopped, signal.SIGSTOP)
    assert answers == {(number,): number * number for number in range(20, 40)}
    assert stopped
    assert any(re.match(r"Ray worker \d.* has not answered for \d s and holds \(\d\d,\): ", line) for line in lines)
    assert any(re.match(r"trying again: Ray worker \d.* did not answer for \d s", line) for line in lines)
    assert "trying again: its worker process died" in lines


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_what_cannot_be_built_ends_the_run_with_its_reason() -> None:
    """A model that cannot be opened is no fault of a prompt: no tries, no parts."""

    def build() -> Callable[[Work], int]:
        raise ConfigError("there is no such model")

    with (
        pytest.raises(WorkerError, match="a worker cannot begin: there is no such model"),
        pool_of(TWO, build) as pool,
    ):
        list(finish(pool, [(1,), (2,)], 2))


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_more_than_the_cluster_has_is_refused_at_once() -> None:
    """Ray itself would wait for it without end."""
    for workers, message in (
        (Workers(workers=64, threads=1, gpus=0), "execution.workers=64 with execution.threads=1 take 64 CPUs"),
        (Workers(workers=1, threads=1, gpus=8), "execution.gpus=8 take 8 GPUs"),
    ):
        with pytest.raises(WorkerError, match=message), pool_of(workers, squares()):
            pass


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_the_embedded_cluster_keeps_its_secrets_to_this_user() -> None:
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o077 == 0
    assert token.parent.stat().st_mode & 0o077 == 0
    assert token.parent.parent == Path(tempfile.gettempdir())
    names = {process.name() for process in psutil.Process().children(recursive=True)}
    assert "raylet" in names, "the cluster is this process's own, and ends with it"


@pytest.mark.long
@pytest.mark.usefixtures("cluster")
def test_the_embedded_cluster_is_reached_from_this_machine_alone() -> None:
    """Kills: services that listened on all addresses, although Ray was given the loopback one."""
    found = raycluster._listening()
    assert {process for process, _ in found} > {os.getpid()}
    assert [address for _, address in found if not raycluster._is_loopback(address)] == []


@pytest.mark.parametrize(
    ("address", "alone"),
    [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("::1", True), ("::", False), ("0.0.0.0", False)],  # noqa: S104
)
def test_an_address_is_the_loopback_however_it_is_written(address: str, alone: bool) -> None:
    assert raycluster._is_loopback(address) == alone


def test_folders_of_killed_commands_are_deleted_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    """A driver that was killed left its token in the system's temporary folder for good."""
    dead, living, foreign = (tmp_path / name for name in ("cd-dead", "cd-living", "cd-foreign"))
    for folder in (dead, living, foreign):
        folder.mkdir()
        (folder / "token").write_text("secret")
    (dead / "lock").touch()
    with short_lock(living / "lock"):
        raycluster._sweep_folders(tmp_path)
        assert not dead.exists()
        assert living.exists()
        assert foreign.exists(), "a folder without a lock is somebody else's"
