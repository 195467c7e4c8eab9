"""Every model the arms need, loaded at its first use and once: arms of one number format share their weights."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from transformers import PreTrainedModel

from cdeval.bench.amateur import truncated
from cdeval.bench.ctranslate import Converted
from cdeval.bench.ctworker import Worker
from cdeval.config.enums import Dtype
from cdeval.errors import ModelError
from cdeval.models.hardware import choose_dtype
from cdeval.models.loading import LanguageModel, OpenedModel


class Models:
    """The expert in each number format, its first blocks as an amateur, and its conversion for CTranslate2."""

    def __init__(self, opened: OpenedModel, layer: int, folder: Path) -> None:
        """Args: opened: the expert. layer: blocks of the amateur. folder: for conversions."""
        self.opened, self.layer = opened, layer
        self.skipped: list[str] = []  # peers that cannot take part, and why
        self._folder = folder
        # Caches of this object, not of its class: the models go when it goes.
        self.expert = cache(self._expert)
        self.peers_expert = cache(self._peers_expert)
        self.amateur = cache(self._amateur)
        self.converted = cache(self._converted)
        self.ctranslate2 = cache(self._ctranslate2)

    def _expert(self, dtype: Dtype) -> LanguageModel:
        return replace(self.opened, dtype=choose_dtype(dtype, self.opened.device)).load()

    def _peers_expert(self, dtype: Dtype) -> LanguageModel:
        """Load the expert as people load it: packing the weights is the engine's own doing."""
        return replace(self.opened, dtype=choose_dtype(dtype, self.opened.device)).load(packed=False)

    def _amateur(self, dtype: Dtype) -> PreTrainedModel:
        return truncated(self.peers_expert(dtype).model, self.layer)

    def _converted(self) -> Converted | None:
        try:
            return Converted(self.opened.path, self._folder)
        except ModelError as error:
            self.skipped.append(f"the arms of CTranslate2 are left out: {error}")
            return None

    def _ctranslate2(self, compute_type: str) -> Worker:
        """A generator. Raises: RuntimeError: CTranslate2 cannot take part, see `converted`."""
        converted = self.converted()
        if converted is None:
            raise RuntimeError("CTranslate2 cannot take part")
        return converted.load(compute_type, self.opened.device)
