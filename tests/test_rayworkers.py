"""Ray's actors as a pool: real processes, really killed. One cluster for all: it takes seconds."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cdeval import rayworkers
from cdeval.errors import ConfigError, WorkerError
from cdeval.locks import short_lock
from cdeval.rayworkers import Crew, ray_cluster, ray_pool
from cdeval.workers import Done, Lost, Rules, finish

pytest.importorskip("ray", reason="needs the extra [ray]")

TWO = Crew(workers=2, threads=1, gpus=0)
Work = tuple[int, ...]


def singles(work: Work) -> list[Work]:
    return [(one,) for one in work]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster(TWO):
        yield


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
    with pytest.raises(WorkerError, match=r"pip install 'cdeval\[ray\]'"), ray_pool(TWO, squares()):
        pass


def test_an_address_without_a_cluster_is_named() -> None:
    lost = Crew(workers=1, threads=1, gpus=0, address="auto")
    wrong = pytest.raises(WorkerError, match=r"execution\.address=auto: no Ray cluster answers")
    with wrong, ray_pool(lost, squares()):
        pass


def test_a_process_can_have_one_cluster_after_the_other() -> None:
    """Two studies of a command: Ray remembers the first one's token, and a new one would not open the second."""
    for _ in range(2):
        before = signal.getsignal(signal.SIGTERM)
        with ray_cluster(TWO):
            assert signal.getsignal(signal.SIGTERM) is before, "Ray's own would exit before what runs is stored"


@pytest.mark.usefixtures("cluster")
def test_a_piece_that_kills_its_worker_is_named_and_the_rest_is_done() -> None:
    works = [(1, 2), (3, 13, 4), (5, 17), (6,), (7, 8)]
    with ray_pool(TWO, squares()) as pool:
        found = list(finish(pool, works, Rules(2, singles)))
    lost = sorted(one for one in found if isinstance(one, Lost))
    assert lost == [Lost((13,), "its worker process died"), Lost((17,), "seventeen is refused")]
    answers = {one.work: one.answer[0] for one in found if isinstance(one, Done)}
    assert answers == {(1, 2): 5, (3,): 9, (4,): 16, (5,): 25, (6,): 36, (7, 8): 113}
    done = [one.answer for one in found if isinstance(one, Done)]
    assert {threads for _, _, threads in done} == {"1"}
    assert os.getpid() not in {process for _, process, _ in done}


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_killed_from_outside_loses_nothing() -> None:
    killed: list[int] = []
    answers = {}
    with ray_pool(TWO, squares()) as pool:
        for one in finish(pool, [(number,) for number in range(20, 40)], Rules(2, singles)):
            assert isinstance(one, Done)
            answers[one.work] = one.answer[0]
            if len(answers) == 5:
                killed.append(one.answer[1])
                os.kill(killed[0], signal.SIGKILL)
    assert answers == {(number,): number * number for number in range(20, 40)}
    assert killed


@pytest.mark.usefixtures("cluster")
def test_what_cannot_be_built_ends_the_run_with_its_reason() -> None:
    """A model that cannot be opened is no fault of a prompt: no tries, no parts."""

    def build() -> Callable[[Work], int]:
        raise ConfigError("there is no such model")

    with (
        pytest.raises(WorkerError, match="a worker cannot begin: there is no such model"),
        ray_pool(TWO, build) as pool,
    ):
        list(finish(pool, [(1,), (2,)], Rules(2, singles)))


@pytest.mark.usefixtures("cluster")
def test_more_than_the_cluster_has_is_refused_at_once() -> None:
    """Ray itself would wait for it without end."""
    for crew, message in (
        (Crew(workers=64, threads=1, gpus=0), "execution.workers=64 with execution.threads=1 take 64 CPUs"),
        (Crew(workers=1, threads=1, gpus=8), "execution.gpus=8 take 8 GPUs"),
    ):
        with pytest.raises(WorkerError, match=message), ray_pool(crew, squares()):
            pass


@pytest.mark.usefixtures("cluster")
def test_the_embedded_cluster_keeps_its_secrets_to_this_user() -> None:
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o077 == 0
    assert token.parent.stat().st_mode & 0o077 == 0
    assert token.parent.parent == Path(tempfile.gettempdir())
    names = {process.name() for process in psutil.Process().children(recursive=True)}
    assert "raylet" in names, "the cluster is this process's own, and ends with it"


def test_folders_of_killed_commands_are_deleted_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    """A driver that was killed left its token in the system's temporary folder for good."""
    dead, living, foreign = (tmp_path / name for name in ("cd-dead", "cd-living", "cd-foreign"))
    for folder in (dead, living, foreign):
        folder.mkdir()
        (folder / "token").write_text("secret")
    (dead / "lock").touch()
    with short_lock(living / "lock"):
        rayworkers._sweep_folders(tmp_path)
        assert not dead.exists()
        assert living.exists()
        assert foreign.exists(), "a folder without a lock is somebody else's"
