"""GGUF files of the user's: read by transformers once, and kept in the cache as a folder of safetensors.

    <cache>/gguf/<SHA-256 of the file>/     as save_pretrained writes it, in float32; may be deleted at any time

Which architectures can be read is transformers' matter (`cdeval.assets.gguf.convert_any`).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import AutoConfig

from cdeval.assets.gguf import convert_any
from cdeval.errors import ModelError, one_line
from cdeval.models.anatomy import anatomy_of
from cdeval.models.folder import gguf_folder
from cdeval.models.quiet import quiet_transformers
from cdeval.store.files import FULL, writing
from cdeval.store.screen import complain


def unpacked(file: Path, name: str) -> Path:
    """The folder of a GGUF file's model, made now if it is not in the cache.

    Args: file: that is there. name: of the model, for messages.
    Raises: ModelError: its architecture is not known here, or transformers cannot read it. StorageError: the cache
        cannot be written.
    """
    folder = gguf_folder(file)
    if (folder / "config.json").is_file():
        return folder
    with _reading(name):
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    anatomy_of(config, name)
    complain(f"turning {file.name} into safetensors, once")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
        try:
            with _reading(name):
                convert_any(file, draft, config)
            if not folder.exists():  # another process may have been faster
                draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn whatever transformers raises for a file that it cannot read into one message; a full disk stays one."""
    try:
        with quiet_transformers():
            yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise ModelError(
            f"{name} cannot be read as a GGUF file ({type(error).__name__}: {one_line(error, 200)}). Give one of an "
            "architecture that transformers reads, whole, or the model's folder of safetensors."
        ) from error
