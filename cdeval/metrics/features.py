"""Features of texts by a model, kept on disk: hidden states, sentence embeddings, log-likelihoods.

A row is found again by the SHA-256 of all that makes it: the kind of row, the model's fingerprint, its number format
and device, and the text's token ids. Change one of them and the row is computed anew; nothing has to be invalidated,
and texts that arms or studies share (the human ones) are read once.

    <folder>/ab/cdef….npy     one row, as numpy writes it, then the SHA-256 of those bytes

Rows appear by one rename, so readers never see half of one, and a row whose bytes do not give their sum is computed and
written again. A folder that cannot be written costs time, not the run. It may be deleted whenever nobody writes it.
"""

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cdeval.errors import ModelError
from cdeval.store.progress import say_nothing

_LAYOUT = "1"  # changes whenever rows of an older release mean something else
_SUM_BYTES = 32


class FeatureCache:
    """Rows by key, below one folder; `FeatureCache(None)` keeps nothing."""

    def __init__(self, folder: Path | None, say: Callable[[str], None] = say_nothing) -> None:
        self.folder = folder
        self.say = say  # takes lines of progress while rows are computed

    def rows(self, keys: Sequence[str], compute: Callable[[list[int]], NDArray[np.generic]]) -> NDArray[np.generic]:
        """Return one row a key, in order: from disk, or from `compute`, which is then kept on disk.

        Args:
            keys: of `key`, at least one; equal keys share a row.
            compute: rows of the given indices into `keys`; called once, for all that are missing, and not for none.

        Raises: ValueError: `compute` returns another number of rows than it was asked for.
        """
        distinct = {key: index for index, key in reversed(list(enumerate(keys)))}  # the first index of each
        found = {key: row for key in distinct if (row := self._read(key)) is not None}
        wanted = sorted(index for key, index in distinct.items() if key not in found)
        if wanted:
            computed = compute(wanted)
            if len(computed) != len(wanted):
                raise ValueError(f"{len(computed)} rows were computed for {len(wanted)} texts")
            for index, row in zip(wanted, computed, strict=True):
                found[keys[index]] = row
                self._write(keys[index], row)
        return np.stack([found[key] for key in keys])

    def _path(self, folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key[2:]}.npy"

    def _read(self, key: str) -> NDArray[np.generic] | None:
        if self.folder is None:
            return None
        try:
            stored = self._path(self.folder, key).read_bytes()
            content, checksum = stored[:-_SUM_BYTES], stored[-_SUM_BYTES:]
            if hashlib.sha256(content).digest() != checksum:
                return None
            row: NDArray[np.generic] = np.load(BytesIO(content), allow_pickle=False)
        except (OSError, ValueError):
            return None
        return row if np.isfinite(row).all() else None  # an older release kept what is no number

    def _write(self, key: str, row: NDArray[np.generic]) -> None:
        if (
            self.folder is None or not np.isfinite(row).all()
        ):  # no answer: another try, or another machine, may have one
            return
        content = BytesIO()
        np.save(content, row, allow_pickle=False)
        path = self._path(self.folder, key)
        draft = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())
            os.replace(draft, path)
        except OSError:  # full or read-only: the row is at hand all the same
            with suppress(OSError):
                draft.unlink()


NO_CACHE = FeatureCache(None)


def require_finite(rows: NDArray[np.generic], ids: Sequence[str], metric: str, model: str, what: str) -> None:
    """Refuse what a model says of a text where that is no number: means, clusters and tests would be none either.

    Args:
        rows: one a text.
        ids: of the texts, in the same order.
        metric: what the rows are for.
        model: its name and number format.
        what: the rows are, in the words of the message.

    Raises: ModelError: NaN or infinite; names the first such text.
    """
    bad = [index for index, row in enumerate(np.asarray(rows)) if not np.isfinite(row).all()]
    if bad:
        raise ModelError(
            f"{metric}: {model} gives {what} that is NaN or infinite for text {ids[bad[0]]!r} "
            f"({len(bad)} of {len(ids)} texts). Numbers too large for a format come out so: try float32 or bfloat16 "
            "(expert.dtype), another model for this metric, or look for NaN in the weights. The texts are stored: "
            "score them again afterwards."
        )


def key(kind: str, model: str, *parts: Sequence[int] | str) -> str:
    """The name of a row [64 hexadecimal digits].

    Args: kind: of row, such as `nll`. model: all that tells models apart, as `identity` gives it. parts: the texts, as
        token ids or as words; where one ends and the next begins is part of the name.
    """
    digest = hashlib.sha256(f"{_LAYOUT}\0{kind}\0{model}\0".encode())
    for part in parts:
        if isinstance(part, str):
            content = part.encode("utf-8", "surrogatepass")
        else:
            content = np.asarray(part, dtype="<i8").tobytes()
        digest.update(f"{type(part) is str:d}{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()
