"""CTranslate2, the fastest common engine for beam search on a CPU, on the same weights (optional: `cdeval[bench]`).

It bans tokens before its softmax, the others after theirs: where a banned token is likely, its beams can differ.
"""

import json
from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path

import torch

from cdeval.assets.extras import how_to_install
from cdeval.bench.ctworker import Worker
from cdeval.bench.plan import Pass, Run
from cdeval.config.setting import Setting
from cdeval.errors import ModelError
from cdeval.models.quiet import quiet_transformers


def ctranslate2_version() -> str | None:
    """The version of the installed library; None where there is none."""
    try:
        return version("ctranslate2")
    except PackageNotFoundError:
        return None


class Converted:
    """A model folder in CTranslate2's own format."""

    def __init__(self, model_path: str, folder: Path) -> None:
        """Convert once, in float32; number formats are chosen when it is loaded.

        Raises: ModelError: CTranslate2 is not installed, or does not know the architecture.
        """
        try:
            import_module("ctranslate2")  # optional, so never imported at the top
            converters = import_module("ctranslate2.converters")
        except ImportError as error:
            raise ModelError(f"CTranslate2 is not installed: {how_to_install('bench')}") from error
        try:
            with quiet_transformers(), redirect_stderr(StringIO()):
                converters.TransformersConverter(model_path).convert(str(folder), force=True)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"CTranslate2 {ctranslate2_version()} cannot convert this model: {reason}") from error
        self._folder = folder
        # Prompts go in as token names; the converter also names the rows that pad the vocabulary.
        self.names: list[str] = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))

    def load(self, compute_type: str, device: torch.device) -> Worker:
        """A generator on as many threads as torch has, in a process of its own."""
        return Worker(str(self._folder), device.type, compute_type, torch.get_num_threads())


def ctranslate2(
    worker: Worker,
    names: Sequence[str],
    prompts: Sequence[tuple[int, ...]],
    setting: Setting,
    banned: Sequence[int],
) -> Run:
    """Plain beam search over all prompts at once."""
    start = [[names[token] for token in prompt] for prompt in prompts]
    suppressed = [[names[token]] for token in banned if token < len(names)]

    def run(new_tokens: int) -> Pass:
        return Pass(tuple(worker.generate(start, suppressed, setting.beams, new_tokens)))

    return run
