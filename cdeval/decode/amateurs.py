"""The weak side of the contrast, for all lanes of a forward pass.

An early exit needs no model of its own: the expert's forward pass leaves the output of block k behind (`models.exits`),
and the expert's final norm and head turn it into logits. Lanes may exit at different layers, or have no amateur.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config import AmateurKind
from cdeval.decode.objective import Knobs, contrast, knobs
from cdeval.models.anatomy import Parts
from cdeval.records import Setting


class EarlyExits:
    """The early-exit amateurs of the lanes, and the contrast with them."""

    def __init__(self, settings: Sequence[Setting], parts: Parts, device: torch.device) -> None:
        self._parts = parts
        self._device = device
        self._lanes = len(settings)
        by_layer: dict[int, list[int]] = {}
        for lane, setting in enumerate(settings):
            if setting.amateur is AmateurKind.early_exit:
                if setting.layer is None:
                    raise ValueError("an early exit needs its layer")
                by_layer.setdefault(setting.layer, []).append(lane)
        self._lanes_of = {layer: self._index(lanes) for layer, lanes in by_layer.items()}
        order = [lane for lanes in by_layer.values() for lane in lanes]
        self._order: Int[Tensor, " contrasted"] = self._index(order)
        self._all_in_order = order == list(range(self._lanes))
        self._knobs: Knobs = knobs([settings[lane] for lane in order], device)

    def _index(self, lanes: list[int]) -> Tensor:
        return torch.tensor(lanes, dtype=torch.long, device=self._device)

    @property
    def layers(self) -> tuple[int, ...]:
        """Exit layers in use."""
        return tuple(self._lanes_of)

    def finished_rows(
        self, tapped: Mapping[int, Float[Tensor, "lane beam width"]]
    ) -> list[Float[Tensor, "contrasted beam head_width"]]:
        """What the head shall read beside the expert's own rows, contrasted lanes grouped by exit layer."""
        rows = []
        for layer, lanes in self._lanes_of.items():
            hidden = tapped[layer]
            rows.append(self._parts.finish(hidden if len(lanes) == self._lanes else hidden[lanes]))
        return rows

    def scores(
        self, log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "contrasted beam vocab"]
    ) -> Float[Tensor, "lane beam vocab"]:
        """The objective of every lane; a lane without an amateur is scored by the expert's log-probabilities alone."""
        if len(self._order) == 0:
            return log_expert
        if self._all_in_order:
            return contrast(log_expert, amateur_logits, self._knobs)
        contrasted = contrast(log_expert[self._order], amateur_logits, self._knobs)
        return log_expert.index_copy(0, self._order, contrasted)
