"""The weak side of the contrast, for all lanes of a forward pass.

An early exit needs no model of its own (`decode.exits`): the expert's forward pass leaves the output of block k behind,
and the expert's final norm and head turn it into logits, in one product with the expert's own rows. Any other amateur
reads the beams' tokens itself (`decode.sources`). Lanes may have different amateurs, or none.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.enums import AmateurKind, Form, Normalizer
from cdeval.config.setting import Amateur, Setting
from cdeval.decode.exits import Exits
from cdeval.decode.lanes import index
from cdeval.decode.objective import CANDIDATES, Knobs, contrast, knobs, plausibility, tempered
from cdeval.decode.sources import Second, Source, open_source
from cdeval.models.loading import LanguageModel


class Amateurs:
    """The amateurs of a batch's lanes.

    The lanes that have one are the *contrasted* ones. Their rows, wherever rows of amateurs appear: those with an early
    exit in the order of `Exits.lanes`, then source by source.
    """

    def __init__(self, settings: Sequence[Setting], expert: LanguageModel, seconds: Mapping[Amateur, Second]) -> None:
        """Raises: KeyError: a setting's amateur needs a second model or a lens, and `seconds` has none for it."""
        device = expert.device
        self._lanes = len(settings)
        self._exits = Exits(settings, expert, seconds)
        exits = set(self._exits.lanes)
        own = [i for i, setting in enumerate(settings) if setting.amateur.contrasts and i not in exits]
        by_source = {settings[i].amateur: [j for j in own if settings[j].amateur == settings[i].amateur] for i in own}
        self._contrasted = [*self._exits.lanes, *(lane for lanes in by_source.values() for lane in lanes)]
        beams = settings[0].beams
        self._sources: list[tuple[Source, list[int], Int[Tensor, " lane"]]] = [
            (open_source(amateur, seconds[amateur], expert, beams), lanes, index(lanes, device))
            for amateur, lanes in by_source.items()
        ]
        self._knobs: Knobs = knobs([settings[lane] for lane in self._contrasted], device)
        self._device = device
        #: Whether only the plausible tokens' logits are ever needed, and all of them come from the expert's head.
        self.only_candidates = bool(exits) and all(
            settings[lane].amateur.kind is AmateurKind.early_exit
            and settings[lane].amateur.head_rows == 1
            and settings[lane].normalizer is Normalizer.candidates
            and settings[lane].form is not Form.redistributed  # which scores every token
            and (settings[lane].expert_top_k or 0) <= CANDIDATES
            for lane in self._contrasted
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers in use, to be tapped in the expert."""
        return self._exits.layers

    @property
    def any(self) -> bool:
        """Whether any lane is contrasted."""
        return bool(self._contrasted)

    @property
    def peak_slots(self) -> int:
        """Most key-value slots that a lane held at once in a cache that is not the expert's."""
        return max((source.peak_slots for source, _, _ in self._sources), default=0)

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """After the expert's prefill: amateurs with a forward pass of their own read the prompts too."""
        for source, lanes, _ in self._sources:
            source.prefill([prompts[lane] for lane in lanes])

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """After the expert's step, whose exits must have been taken: they read the beams' last tokens too."""
        for source, _, lanes in self._sources:
            source.read(tokens[lanes])

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]."""
        for source, _, lanes in self._sources:
            source.reorder(parent[lanes])

    def compact(self) -> None:
        """Drop what no living beam descends from."""
        for source, _, _ in self._sources:
            source.compact()

    def exit_rows(
        self, tapped: Mapping[int, Float[Tensor, "lane beam width"]], step: int
    ) -> list[Float[Tensor, "row beam head_width"]]:
        """What the expert's head shall read beside the expert's own rows: one tensor, or none without early exits.

        `step` counts the tokens of the continuation so far.
        """
        return self._exits.rows(tapped, step)

    def logits(self, of_head: Float[Tensor, "row beam vocab"], step: int) -> Float[Tensor, "contrasted beam vocab"]:
        """The logits of all contrasted lanes, from the head's: those of all lanes' expert, then of the exit rows."""
        of_exits = self._exits.logits(of_head[self._lanes :], of_head[: self._lanes], step)
        if not self._sources:
            return of_exits
        return torch.cat([of_exits, *(source.logits().to(of_exits.dtype) for source, _, _ in self._sources)])

    def part(self, lanes: slice) -> "AmateurPart":
        """The amateurs of some consecutive lanes."""
        inside = [row for row, lane in enumerate(self._contrasted) if lanes.start <= lane < lanes.stop]
        in_order = inside == list(range(inside[0], inside[-1] + 1)) if inside else True
        local = [self._contrasted[row] - lanes.start for row in inside]
        device = self._device
        rows = slice(inside[0], inside[-1] + 1) if inside and in_order else index(inside, device)
        return AmateurPart(
            rows=rows,
            lanes=None if local == list(range(lanes.stop - lanes.start)) else index(local, device),
            knobs=self._knobs.of(rows),
        )


class AmateurPart:
    """What `Amateurs` knows of some consecutive lanes, worked out once a batch."""

    def __init__(
        self, rows: slice | Int[Tensor, " contrasted"], lanes: Int[Tensor, " contrasted"] | None, knobs: Knobs
    ) -> None:
        self.rows = rows  # of the contrasted lanes' tensor
        self._lanes = lanes  # which of these lanes are contrasted; None: all of them, in order
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

    def crowded(self, likeliest: Float[Tensor, "lane beam candidate"]) -> Bool[Tensor, ""]:
        """Whether the last of some lane's likeliest tokens, in descending order, is plausible: there may be more."""
        if self._lanes is not None and len(self._lanes) == 0:
            return torch.zeros((), dtype=torch.bool, device=likeliest.device)
        _, implausible = plausibility(self.contrasted(likeliest), self._knobs)
        return (~implausible[..., -1]).any()

    def log_probs(
        self, log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "contrasted beam vocab"]
    ) -> Float[Tensor, "contrasted beam vocab"]:
        """The contrasted lanes' log softmax(z_a / T) as the objective takes it, for whoever watches a lane."""
        _, implausible = plausibility(self.contrasted(log_expert), self._knobs)
        return tempered(amateur_logits, implausible, self._knobs)
