"""Every model the arms need, loaded at its first use and once: arms of one number format share their weights."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from transformers import PreTrainedModel

from cdeval.bench.amateur import truncated
from cdeval.bench.ctranslate import Converted
from cdeval.bench.ctworker import Worker
from cdeval.config.amateur import Amateur
from cdeval.config.enums import Dtype, Weights
from cdeval.errors import ModelError
from cdeval.models.hardware import choose_dtype
from cdeval.models.loading import LanguageModel, OpenedModel
from cdeval.models.packing import packs
from cdeval.models.truncate import truncate


class Models:
    """The expert in each number format, its first blocks or a small model as an amateur, and its conversion."""

    def __init__(self, opened: OpenedModel, layer: int, folder: Path, small: OpenedModel | int = 1) -> None:
        """Take what is to be loaded.

        Args:
            opened: the expert.
            layer: blocks before the exit.
            folder: for conversions.
            small: another amateur, with a forward pass of its own: a model, or so many of the expert's first blocks.
        """
        self.opened, self.layer, self._small = opened, layer, small
        self.skipped: list[str] = []  # peers that cannot take part, and why
        self._folder = folder
        # Caches of this object, not of its class: the models go when it goes.
        self.expert = cache(self._expert)
        self.peers_expert = cache(self._peers_expert)
        self.amateur = cache(self._amateur)
        self.small = cache(self._load_small)
        self.converted = cache(self._converted)
        self.ctranslate2 = cache(self._ctranslate2)

    def _expert(self, dtype: Dtype) -> LanguageModel:
        return replace(self.opened, dtype=choose_dtype(dtype, self.opened.device)).load()

    def _peers_expert(self, dtype: Dtype) -> LanguageModel:
        """Load the expert as people load it: packing the weights is the engine's own doing, where it packs them."""
        if not packs(self.opened.device, choose_dtype(dtype, self.opened.device)):
            return self.expert(dtype)
        return replace(self.opened, dtype=choose_dtype(dtype, self.opened.device)).load(packed=False)

    def _amateur(self, dtype: Dtype) -> PreTrainedModel:
        return truncated(self.peers_expert(dtype).model, self.layer)

    @property
    def small_amateur(self) -> Amateur:
        """The small model as a setting has it."""
        if isinstance(self._small, OpenedModel):
            return Amateur("model", name=self._small.name)
        return Amateur("truncated", self._small)

    def _load_small(self, dtype: Dtype) -> LanguageModel:
        if isinstance(self._small, OpenedModel):
            return replace(self._small, dtype=choose_dtype(dtype, self._small.device)).load()
        return truncate(self.expert(dtype), self._small)

    def peers_small(self, dtype: Dtype) -> PreTrainedModel:
        """The small model for other programs."""
        if isinstance(self._small, OpenedModel):
            return self.small(dtype).model
        return truncated(self.peers_expert(dtype).model, self._small)

    def _converted(self) -> Converted | None:
        try:
            if self.opened.weights is Weights.random:
                raise ModelError("it reads weights from files, and random ones have none.")
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
