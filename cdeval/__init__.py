"""cdeval: a benchmark and evaluation harness for contrastive decoding.

The question: can an early-exit layer of the expert be its own amateur, for less compute and equal quality?
`cdeval.study.pipeline` tells the whole story on one page; `cdeval.decode.engine` is the part that makes it fast.
"""

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any

__version__ = "0.1.0"


def leave_at_once(number: int, _frame: FrameType | None) -> None:
    """End a command that is signalled while it still imports: nothing has begun, and a traceback would say nothing."""
    os.write(2, b"stopped; nothing was begun\n")
    os._exit(128 + number)


_OFFERED = {  # to plug-ins; read when they are asked for, because they import torch
    "amateur": "cdeval.decode.amateurs.plugin",
    "plausibility": "cdeval.decode.plausibility.plugin",
    "metric": "cdeval.metrics.register",
    "Metric": "cdeval.metrics.registry",
    "number": "cdeval.config.fields",
}


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_OFFERED[name]), name)


def _is_command() -> bool:
    """Whether this is `python -m cdeval.<command>`, whose package is imported before the command itself."""
    if sys.argv[:1] != ["-m"] or "-m" not in sys.orig_argv:
        return False
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1]
    return any(name.startswith("cdeval.") and name.count(".") == 1 for name in module)


if _is_command():  # until `cdeval.cli` takes the signals over; whoever imports cdeval keeps their own handlers
    for _number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_number) is not signal.SIG_IGN:  # as `nohup` and shells in the background set it
            signal.signal(_number, leave_at_once)
