"""Pickled weights (`pytorch_model.bin`), as older checkpoints have them: read as data, and refused where they are more.

A pickle is a program. `torch.load(weights_only=True)`, by which transformers reads it, runs none of it but what puts
tensors together, and stops at anything else. Each file is opened so once before, without its numbers, so that one that
is refused is named, whichever of several shards it is.
"""

import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - the exception alone

import torch

from cdeval.errors import ModelError, one_line

_NAMED = re.compile(r"(?:GLOBAL|Unsupported class|Trying to (?:call|instantiate)\w*) ([\w.]+)")
_OTHERWISE = (
    "Give the model in safetensors; or, where you trust whoever wrote the file, load it there and save it by "
    "save_pretrained, which writes safetensors."
)


def check_pickle(file: Path, name: str) -> None:
    """Check that a file holds tensors and nothing else; no code that it names is run, and its numbers are not read.

    Args: file: of weights. name: of the model, for messages.
    Raises: ModelError: it holds something else, or is damaged.
    """
    try:
        # As data. Only what is a zip archive can be mapped into memory, which spares reading the numbers.
        torch.load(file, map_location="meta", weights_only=True, mmap=zipfile.is_zipfile(file))  # noqa: TID251
    except UnpicklingError as error:
        found = _NAMED.search(str(error))
        if found is not None:
            raise ModelError(
                f"{name}: {file.name} is a pickle that holds more than weights: it names {found[1]}. Opened in full it "
                f"could run any code, so nothing of it was run. {_OTHERWISE}"
            ) from error
        raise _damaged(file, name, error) from error
    except Exception as error:  # what torch raises for a file that is cut short, or none of its own
        raise _damaged(file, name, error) from error


def _damaged(file: Path, name: str, error: Exception) -> ModelError:
    reason = one_line(error, 160)
    return ModelError(
        f"{name}: {file.name} cannot be read as pickled weights ({type(error).__name__}: {reason}): the copy may be "
        f"damaged. Download it again. {_OTHERWISE}"
    )
