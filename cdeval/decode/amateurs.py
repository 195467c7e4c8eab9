"""The weak side of the contrast, for all lanes of a forward pass.

An early exit needs no model of its own: the expert's forward pass leaves the output of block k behind (`models.exits`),
and the expert's final norm and head turn it into logits. Lanes may exit at different layers, or have no amateur.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config import AmateurKind, Normalizer
from cdeval.decode.objective import Knobs, contrast, knobs
from cdeval.models.anatomy import Parts
from cdeval.records import Setting


class EarlyExits:
    """The early-exit amateurs of the lanes, and the contrast with them.

    The lanes that have an amateur are the *contrasted* ones; their rows keep the order of the lanes.
    """

    def __init__(self, settings: Sequence[Setting], parts: Parts, device: torch.device) -> None:
        contrasted = [lane for lane, setting in enumerate(settings) if setting.amateur is AmateurKind.early_exit]
        exits = [settings[lane].layer for lane in contrasted]
        self._parts = parts
        self._contrasted = contrasted
        self._lanes: Int[Tensor, " contrasted"] = torch.tensor(contrasted, dtype=torch.long, device=device)
        # Exit layer -> its rows among the contrasted ones.
        self._rows_of = {
            layer: torch.tensor([row for row, exit_ in enumerate(exits) if exit_ == layer], device=device)
            for layer in dict.fromkeys(exits)
            if layer is not None
        }
        self._knobs: Knobs = knobs([settings[lane] for lane in contrasted], device)
        self._all = len(contrasted) == len(settings)
        #: Whether only the plausible tokens' logits are ever needed.
        self.only_candidates = bool(contrasted) and all(
            settings[lane].normalizer is Normalizer.candidates for lane in contrasted
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Exit layers in use; none where no lane has an amateur."""
        return tuple(self._rows_of)

    def finished_rows(
        self, tapped: Mapping[int, Float[Tensor, "lane beam width"]]
    ) -> list[Float[Tensor, "contrasted beam head_width"]]:
        """What the head shall read beside the expert's own rows: one tensor, or none without amateurs."""
        if not self._rows_of:
            return []
        if len(self._rows_of) == 1:
            (hidden,) = (tapped[layer] for layer in self._rows_of)
            return [self._parts.finish(hidden if self._all else hidden[self._lanes])]
        first = tapped[next(iter(self._rows_of))]
        mixed = first.new_empty(len(self._lanes), *first.shape[1:])
        for layer, rows in self._rows_of.items():
            mixed[rows] = tapped[layer][self._lanes[rows]]
        return [self._parts.finish(mixed)]

    def part(self, lanes: slice) -> "AmateurPart":
        """The amateurs of some consecutive lanes."""
        inside = [i for i, lane in enumerate(self._contrasted) if lanes.start <= lane < lanes.stop]
        rows = slice(inside[0], inside[-1] + 1) if inside else slice(0, 0)
        local = self._lanes[rows] - lanes.start
        return AmateurPart(
            rows=rows,
            lanes=None if len(inside) == lanes.stop - lanes.start else local,
            knobs=self._knobs.of(rows),
        )


class AmateurPart:
    """What `EarlyExits` knows of some consecutive lanes, worked out once a batch."""

    def __init__(self, rows: slice, lanes: Int[Tensor, " contrasted"] | None, knobs: Knobs) -> None:
        self.rows = rows  # of the contrasted lanes' tensor
        self._lanes = lanes  # which of these lanes are contrasted; None: all of them
        self._knobs = knobs

    def contrasted(self, lanes: Tensor) -> Tensor:
        """The rows of a tensor of these lanes that belong to contrasted ones."""
        return lanes if self._lanes is None else lanes[self._lanes]

    def scores(
        self, log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "contrasted beam vocab"]
    ) -> Float[Tensor, "lane beam vocab"]:
        """The objective of every lane; a lane without an amateur is scored by the expert's log-probabilities alone."""
        if self._lanes is None:
            return contrast(log_expert, amateur_logits, self._knobs)
        if len(self._lanes) == 0:
            return log_expert
        contrasted = contrast(log_expert[self._lanes], amateur_logits, self._knobs)
        return log_expert.index_copy(0, self._lanes, contrasted)
