"""CTranslate2 in a process of its own.

Beside its threads in one process, torch's matrix products took 1.6 to 2 times as long on two cores: every arm of the
bench would have been slow because one of them was there. The worker imports neither torch nor transformers.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from cdeval.study.parent_watch import end_with_parent

_generator: Any = None  # of this worker process


class Worker:
    """A generator behind a process; it works only while it is asked."""

    def __init__(self, folder: str, device: str, compute_type: str, threads: int) -> None:
        """Start the process and load the converted model there at the first call."""
        context = get_context("spawn")
        end, self._held = context.Pipe(duplex=False)  # held as long as this process lives
        self._pool = ProcessPoolExecutor(
            max_workers=1,
            mp_context=context,
            initializer=_open,
            initargs=(end, folder, device, compute_type, threads),
        )

    def generate(
        self, start: Sequence[Sequence[str]], suppressed: Sequence[Sequence[str]], beams: int, new_tokens: int
    ) -> list[tuple[int, ...]]:
        """Plain beam search of exactly `new_tokens` after each start, all at once; token ids."""
        return self._pool.submit(_generate, start, suppressed, beams, new_tokens).result()


def _open(end: Connection, folder: str, device: str, compute_type: str, threads: int) -> None:
    end_with_parent(end)
    global _generator  # noqa: PLW0603 - the worker's one model
    library = import_module("ctranslate2")  # optional, so never imported at the top
    _generator = library.Generator(
        folder, device=device, compute_type=compute_type, inter_threads=1, intra_threads=threads
    )


def _generate(
    start: Sequence[Sequence[str]], suppressed: Sequence[Sequence[str]], beams: int, new_tokens: int
) -> list[tuple[int, ...]]:
    results = _generator.generate_batch(
        start,
        beam_size=beams,
        max_length=new_tokens,
        min_length=new_tokens,
        sampling_topk=1,
        include_prompt_in_result=False,
        suppress_sequences=suppressed,
    )
    return [tuple(result.sequences_ids[0]) for result in results]
