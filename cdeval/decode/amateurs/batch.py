"""The weak side of the contrast, for all lanes of a forward pass.

An early exit needs no model of its own (`amateurs.early_exit`): the expert's forward pass leaves the output of block k
behind, and the expert's final norm and head turn it into logits, in one product with the expert's own rows. Any other
amateur gives its logits step by step (`amateurs.kind.Source`). Lanes may have different amateurs, or none.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.amateur import Amateur, kind_of
from cdeval.config.enums import Form, Normalizer
from cdeval.config.token_weight import CONSTANT
from cdeval.decode.amateurs.early_exit import Exits, head_rows
from cdeval.decode.amateurs.kind import AmateurModel, Source
from cdeval.decode.amateurs.model import ModelSource
from cdeval.decode.beam import largest
from cdeval.decode.lanes import Lane, index
from cdeval.decode.objective import (
    CANDIDATES,
    Masked,
    ObjectiveSettings,
    contrast,
    objective_settings,
    plausibility,
    tempered,
)
from cdeval.decode.reader import Reader
from cdeval.decode.static import Stateful
from cdeval.decode.steps import Step
from cdeval.models.loading import LanguageModel

_WIDER = 4  # times as many tokens, where the plausible ones may be more than the candidate-only head looks at


class Amateurs:
    """The amateurs of a batch's lanes.

    The lanes that have one are the *contrasted* ones. Their rows, wherever rows of amateurs appear: those with an early
    exit in the order of `Exits.lanes`, then source by source.
    """

    def __init__(self, lanes: Sequence[Lane], expert: LanguageModel, models: Mapping[Amateur, AmateurModel]) -> None:
        """Take the lanes, and what their amateurs are made of. Raises: KeyError: a lens is missing there."""
        settings, device = [lane.setting for lane in lanes], expert.device
        self._lanes = len(settings)
        self._exits = Exits(settings, expert, models)
        exits = set(self._exits.lanes)
        own = [i for i, setting in enumerate(settings) if setting.amateur.contrasts and i not in exits]
        by_source = {settings[i].amateur: [j for j in own if settings[j].amateur == settings[i].amateur] for i in own}
        self._contrasted = [*self._exits.lanes, *(lane for lanes in by_source.values() for lane in lanes)]
        self._sources: list[tuple[Source, list[int], Int[Tensor, " lane"]]] = [
            (
                _source(amateur, models.get(amateur), expert, [lanes[place] for place in places]),
                places,
                index(places, device),
            )
            for amateur, places in by_source.items()
        ]
        self._alone = [lane for lane, setting in enumerate(settings) if setting.masks_alone]
        self._settings, self._device = settings, device
        #: Whether only the plausible tokens' logits are ever needed, and all of them come from the expert's head.
        self.only_candidates = bool(exits) and all(
            lane in exits
            and head_rows(settings[lane].amateur) == 1
            and settings[lane].normalizer is Normalizer.candidates
            and settings[lane].form is not Form.redistributed  # which scores every token
            and settings[lane].token_weight == CONSTANT  # another one reads whole distributions
            and (settings[lane].expert_top_k or 0) <= CANDIDATES
            for lane in self._contrasted
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers in use, to be tapped in the expert."""
        return self._exits.layers

    @property
    def any(self) -> bool:
        """Whether any lane is contrasted, or has a rule of plausibility without an amateur."""
        return bool(self._contrasted or self._alone)

    @property
    def peak_slots(self) -> int:
        """Most key-value slots that a lane held at once in a cache that is not the expert's."""
        return max((source.peak_slots for source, _, _ in self._sources), default=0)

    @property
    def models(self) -> list[LanguageModel]:
        """The models that read along."""
        return [source.model for source, _, _ in self._sources if isinstance(source, ModelSource)]

    @property
    def readers(self) -> list[Reader]:
        """The states of the models that read along."""
        return [source.reader for source, _, _ in self._sources if isinstance(source, ModelSource)]

    @property
    def holders(self) -> list[Stateful]:
        """The readers and sources whose state a step changes."""
        return [*self.readers, *(source for source, _, _ in self._sources if isinstance(source, Stateful))]

    def fix(self) -> None:
        """Keep what they read in storage of a fixed size, before they read the prompts."""
        for reader in self.readers:
            reader.fix()

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Let amateurs with a forward pass of their own read the prompts, after the expert's prefill."""
        for source, lanes, _ in self._sources:
            source.prefill([prompts[lane] for lane in lanes])

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """Let them read the beams' last tokens, after the expert's step, whose exits must have been taken."""
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
        self, tapped: Mapping[int, Float[Tensor, "lane beam width"]], step: Step
    ) -> list[Float[Tensor, "row beam head_width"]]:
        """Make the rows that the expert's head reads beside its own: one tensor, or none without early exits.

        `step` counts the tokens of the continuation so far.
        """
        return self._exits.rows(tapped, step)

    def logits(self, of_head: Float[Tensor, "row beam vocab"], step: Step) -> Float[Tensor, "contrasted beam vocab"]:
        """The logits of all contrasted lanes, from the head's: those of all lanes' expert, then of the exit rows."""
        of_exits = self._exits.logits(of_head[self._lanes :], of_head[: self._lanes], step)
        if not self._sources:
            return of_exits
        expert = of_head[: self._lanes]
        found = [source.logits(expert[lanes]).to(of_exits.dtype) for source, _, lanes in self._sources]
        return torch.cat([of_exits, *found])

    def part(self, lanes: slice) -> "AmateurPart":
        """The amateurs of some consecutive lanes."""
        inside = [row for row, lane in enumerate(self._contrasted) if lanes.start <= lane < lanes.stop]
        in_order = inside == list(range(inside[0], inside[-1] + 1)) if inside else True
        local = [self._contrasted[row] - lanes.start for row in inside]
        device = self._device
        rows = slice(inside[0], inside[-1] + 1) if inside and in_order else index(inside, device)
        alone = [lane for lane in self._alone if lanes.start <= lane < lanes.stop]
        return AmateurPart(
            rows=rows,
            lanes=None if local == list(range(lanes.stop - lanes.start)) else index(local, device),
            objective=self._objective([self._contrasted[row] for row in inside]),
            alone=(index([lane - lanes.start for lane in alone], device), self._objective(alone)) if alone else None,
        )

    def _objective(self, lanes: Sequence[int]) -> ObjectiveSettings:
        return objective_settings([self._settings[lane] for lane in lanes], self._device)


def _source(amateur: Amateur, loaded: AmateurModel | None, expert: LanguageModel, lanes: Sequence[Lane]) -> Source:
    """Open the source of some lanes. Raises: ValueError: the kind has none."""
    found = kind_of(amateur).source(amateur, loaded, expert, lanes)
    if not isinstance(found, Source):
        raise ValueError(f"amateur={amateur.kind} gives no logits")
    return found


class Candidates(NamedTuple):
    """The tokens whose amateur logits the candidate-only head works out."""

    log_expert: Float[Tensor, "lane beam candidate"]
    tokens: Int[Tensor, "lane beam candidate"]
    masked: Masked | None  # of the contrasted lanes, where their rules have seen the whole vocabulary
    crowded: Bool[Tensor, ""]  # whether other tokens may be plausible, too


class AmateurPart:
    """The facts about some consecutive lanes that `Amateurs` works out once a batch."""

    def __init__(
        self,
        rows: slice | Int[Tensor, " contrasted"],
        lanes: Int[Tensor, " contrasted"] | None,
        objective: ObjectiveSettings,
        alone: tuple[Int[Tensor, " lane"], ObjectiveSettings] | None,
    ) -> None:
        self.rows = rows  # of the contrasted lanes' tensor
        self._lanes = lanes  # which of these lanes are contrasted; None: all of them, in order
        self._objective = objective
        self._alone = alone  # which have a rule of plausibility and no amateur

    def contrasted(self, lanes: Tensor) -> Tensor:
        """The rows of a tensor of these lanes that belong to contrasted ones."""
        return lanes if self._lanes is None else lanes[self._lanes]

    def scores(
        self,
        log_expert: Float[Tensor, "lane beam vocab"],
        amateur_logits: Float[Tensor, "contrasted beam vocab"],
        masked: Masked | None = None,
    ) -> Float[Tensor, "lane beam vocab"]:
        """The objective of every lane; a lane without an amateur is scored by the expert's log-probabilities alone.

        `masked` is what the contrasted lanes' rules leave of these tokens, where they have seen more tokens.
        """
        if self._lanes is None:
            return contrast(log_expert, amateur_logits, self._objective, masked)
        scores = log_expert
        if len(self._lanes):
            contrasted = contrast(log_expert[self._lanes], amateur_logits, self._objective, masked)
            scores = scores.index_copy(0, self._lanes, contrasted)
        if self._alone is not None:
            lanes, own = self._alone
            left, implausible = plausibility(log_expert[lanes], own)
            scores = scores.index_copy(0, lanes, left.masked_fill(implausible, -torch.inf))
        return scores

    def candidates(self, log_expert: Float[Tensor, "lane beam vocab"], width: int, *, widen: bool) -> Candidates:
        """The likeliest tokens of lanes that look at the plausible ones alone.

        Args:
            log_expert: log-probabilities of the whole vocabulary.
            width: how many tokens are looked at.
            widen: whether to look further where more may be plausible, for which the host waits for the device.
        """
        # Rules may ask for statistics of the whole vocabulary; alpha sees what it needs among the likeliest tokens.
        whole = None if self._objective.rules is None else plausibility(self.contrasted(log_expert), self._objective)
        while True:
            values, tokens = largest(log_expert, min(width, log_expert.shape[-1]))
            masked = whole and whole.among(self.contrasted(tokens))
            crowded = self._crowded(values, whole, masked)
            if width >= log_expert.shape[-1]:
                crowded = torch.zeros_like(crowded)
            if not widen or not crowded:
                return Candidates(values, tokens, masked, crowded)
            width *= _WIDER

    def _crowded(
        self, likeliest: Float[Tensor, "lane beam candidate"], whole: Masked | None, masked: Masked | None
    ) -> Bool[Tensor, ""]:
        """Whether tokens may be plausible that are not among the likeliest ones, which are in descending order."""
        if self._lanes is not None and len(self._lanes) == 0:
            return torch.zeros((), dtype=torch.bool, device=likeliest.device)
        if whole is None or masked is None:
            return (~plausibility(self.contrasted(likeliest), self._objective).implausible[..., -1]).any()
        return ((~whole.implausible).sum(dim=-1) > (~masked.implausible).sum(dim=-1)).any()

    def log_probs(
        self, log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "contrasted beam vocab"]
    ) -> Float[Tensor, "contrasted beam vocab"]:
        """The contrasted lanes' log softmax(z_a / T) as the objective takes it, for whoever watches a lane."""
        _, implausible = plausibility(self.contrasted(log_expert), self._objective)
        return tempered(amateur_logits, implausible, self._objective)
