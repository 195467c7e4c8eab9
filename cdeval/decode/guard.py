"""Errors of plug-ins while texts are decoded."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cdeval.config.methods import Method
from cdeval.errors import CdevalError, one_line


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out. The CPU allocator raises a plain RuntimeError; only its text tells."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def plugin_errors(method: Method, setting: str) -> Iterator[None]:
    """Turn what a plug-in raises into one message that names it, but for memory that runs out.

    Raises: ModelError: it raised an exception.
    """
    try:
        yield
    except CdevalError:
        raise
    except Exception as error:
        if method.origin is None or is_out_of_memory(error):
            raise
        raise method.failure(setting, f"raised {type(error).__name__}: {one_line(error)}") from error
