"""wandb where it does no harm: its files in one folder, blind to the user's variables, its service ended afterwards."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def wandb_confined(mirror: Path, *, again: bool = False) -> Iterator[Any]:
    """wandb, with all its files in `mirror` and blind to the user's W&B variables, keys first; all is put back.

    Args:
        mirror: the folder.
        again: whether it is asked for again, so that its service is to go on.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    ours = {f"WANDB_{kind}_DIR": str(mirror.resolve() / kind.lower()) for kind in ("CACHE", "DATA", "CONFIG")}
    excepthook = sys.excepthook
    _replace_variables({**ours, "WANDB_ERROR_REPORTING": "false"})
    try:
        with wandb_service(again=again) as wandb:
            yield wandb
    finally:
        _replace_variables(given)
        sys.excepthook = excepthook


@contextmanager
def wandb_service(*, again: bool = False) -> Iterator[Any]:
    """wandb, and its service ended afterwards: it would keep the settings of this point for the next."""
    import wandb  # noqa: PLC0415 - slow to import, and a run without tracking does not need it

    in_use = again or wandb.run is not None  # by the caller, for purposes of its own
    try:
        yield wandb
    finally:
        if not in_use:
            wandb.teardown()


def _replace_variables(variables: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ.update(variables)
