"""Early exits of the expert as amateurs: from its blocks' outputs to a row of logits a lane and beam.

A lane reads one layer, or the candidates that it chooses among at every token (`decode.selection`). Layers and lenses
of all lanes share the head's product with the expert's rows, in which its weights are read once:

    blocks -> translators -> choice by hidden states -> norm -> head -> choice by distributions -> a row a lane and beam

A *read* is one layer through one lens for one lane; a *head row* is what the head is applied to. Both come in the order
of the lanes, and these in the order: fixed, choosing by hidden states, by confidence, by divergence.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.enums import AmateurKind
from cdeval.config.exits import Lens, Measure, Selection
from cdeval.config.setting import Amateur, Setting
from cdeval.decode.lanes import index
from cdeval.decode.objective import log_probs
from cdeval.decode.selection import divergence, first_sure, gap, saturation, thresholds
from cdeval.decode.sources import Second
from cdeval.models.lens import Translator, TunedLens, seen_through, translated
from cdeval.models.loading import LanguageModel

# Lanes whose candidates are compared together on a CPU: few, for the reason of decode.engine.LANES_AT_ONCE.
COMPARED_AT_ONCE = 2

FIXED, BY_STATES, BY_CONFIDENCE, BY_DIVERGENCE = range(4)


class _View(NamedTuple):
    """One layer through one lens, for all lanes that read it."""

    layer: int
    lens: Lens
    translator: Translator | None
    reads: Int[Tensor, " read"]
    lanes: Int[Tensor, " read"]  # of the batch


class Exits:
    """The early exits of a batch's lanes."""

    def __init__(self, settings: Sequence[Setting], expert: LanguageModel, seconds: Mapping[Amateur, Second]) -> None:
        """Raises: KeyError: a tuned lens is not among `seconds`."""
        self._parts, device = expert.parts, expert.device
        mine = [i for i, setting in enumerate(settings) if setting.amateur.kind is AmateurKind.early_exit]
        #: Of the batch, in the order of the rows that `logits` returns.
        self.lanes = sorted(mine, key=lambda lane: _way(settings[lane].amateur))
        amateurs = [settings[lane].amateur for lane in self.lanes]
        ways = [_way(amateur) for amateur in amateurs]
        self._everywhere = len(self.lanes) == len(settings)
        self._views = _views(amateurs, self.lanes, seconds, device)
        self._reads = sum(len(amateur.exits) for amateur in amateurs)
        self._fixed, states = ways.count(FIXED), ways.count(BY_STATES)
        self._settled = self._fixed + states  # head rows that nothing is left to choose among
        chosen = [settings[lane] for lane in self.lanes]
        self._by_states = _choice(BY_STATES, chosen, self.lanes, self._fixed, device)
        self._by_logits = []
        start = self._settled
        for way in (BY_CONFIDENCE, BY_DIVERGENCE):
            if choice := _choice(way, chosen, self.lanes, start, device):
                self._by_logits.append(choice)
                start += choice.candidates
        lenses = [amateur.lens for amateur in amateurs for _ in range(amateur.head_rows)]
        raw = [row for row, lens in enumerate(lenses) if lens is Lens.raw]
        self._raw, self._all_raw = index(raw, device) if raw else None, len(raw) == len(lenses)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers to be tapped in the expert."""
        before = self._by_states.layers_before if self._by_states else ()
        return tuple(dict.fromkeys([*(view.layer for view in self._views), *before]))

    def rows(
        self, tapped: Mapping[int, Float[Tensor, "lane beam width"]], step: int
    ) -> list[Float[Tensor, "row beam head_width"]]:
        """What the expert's head shall read beside the expert's own rows: one tensor, or none without early exits."""
        if not self._views:
            return []
        if len(self._views) == 1:
            view = self._views[0]
            hidden = tapped[view.layer] if self._everywhere else tapped[view.layer][view.lanes]
            return [seen_through(view.lens, self._parts, hidden, view.translator)]
        first = tapped[self._views[0].layer]
        read = first.new_empty(self._reads, *first.shape[1:])
        for view in self._views:
            hidden = tapped[view.layer][view.lanes]
            read[view.reads] = hidden if view.translator is None else translated(view.translator, hidden)
        if self._by_states:
            choice = self._by_states
            rest = read[self._fixed + choice.candidates :]
            read = torch.cat([read[: self._fixed], choice.by_states(read, tapped, step), rest])
        return [self._finished(read)]

    def logits(
        self, of_rows: Float[Tensor, "row beam vocab"], expert: Float[Tensor, "lane beam vocab"], step: int
    ) -> Float[Tensor, "exit beam vocab"]:
        """One row a lane with an early exit, from the head's rows; `expert` are the logits of all lanes."""
        if not self._by_logits:
            return of_rows
        chosen = [choice.by_logits(of_rows, expert, step) for choice in self._by_logits]
        return torch.cat([of_rows[: self._settled], *chosen])

    def _finished(self, read: Float[Tensor, "row beam width"]) -> Float[Tensor, "row beam head_width"]:
        if self._raw is None:
            return self._parts.finish(read)
        if self._all_raw:
            return self._parts.projected(read)
        return self._parts.projected(self._parts.normed(read).index_copy(0, self._raw, read[self._raw]))


class _Choice:
    """Lanes that choose in one way; those with fewer candidates than others have their last one several times."""

    def __init__(
        self, way: int, settings: Sequence[Setting], lanes: Sequence[int], start: int, device: torch.device
    ) -> None:
        """`start` is the place of the first candidate of the first lane among the rows that are chosen from."""
        self._way = way
        self._lanes = index(lanes, device)
        exits = [setting.amateur.exits for setting in settings]
        widest = max(map(len, exits))
        self.candidates = sum(map(len, exits))
        rows, layers = [], []
        for candidates in exits:
            rows.append([start + min(place, len(candidates) - 1) for place in range(widest)])
            layers.append([candidates[min(place, len(candidates) - 1)] for place in range(widest)])
            start += len(candidates)
        self._rows = torch.tensor(rows, dtype=torch.long, device=device)
        self._layers = sorted({layer for candidates in exits for layer in candidates})
        places = [[self._layers.index(layer) for layer in candidates] for candidates in layers]
        self._places = torch.tensor(places, dtype=torch.long, device=device)
        # A value a step and lane, made once: a step sends nothing to the device.
        levels = [thresholds(setting.amateur.threshold or 0.0, setting.max_new_tokens) for setting in settings]
        self._thresholds = torch.tensor(levels, device=device).T
        self._at_once = COMPARED_AT_ONCE if device.type == "cpu" else len(settings)

    @property
    def layers_before(self) -> list[int]:
        """The layers before the candidates, which saturation compares them with."""
        return [layer - 1 for layer in self._layers if layer > 1]

    def by_states(
        self,
        read: Float[Tensor, "read beam width"],
        tapped: Mapping[int, Float[Tensor, "lane beam width"]],
        step: int,
    ) -> Float[Tensor, "chosen beam width"]:
        """The first saturated candidate of each lane and beam."""
        confidence = torch.stack([saturation(tapped[layer], tapped.get(layer - 1)) for layer in self._layers])
        mine = confidence[self._places, self._lanes[:, None]]
        return _picked(read, self._rows, first_sure(mine, self._thresholds[step]))

    def by_logits(
        self, of_rows: Float[Tensor, "row beam vocab"], expert: Float[Tensor, "lane beam vocab"], step: int
    ) -> Float[Tensor, "chosen beam vocab"]:
        """The candidate of each lane and beam that is surest first, or furthest from the expert."""
        level = self._thresholds[step]
        chosen = []
        for start in range(0, len(level), self._at_once):
            some = slice(start, start + self._at_once)
            candidates = (log_probs(of_rows[column]) for column in self._rows[some].unbind(1))
            if self._way == BY_CONFIDENCE:
                choice = first_sure(torch.stack([gap(log_q) for log_q in candidates], dim=1), level[some])
            else:
                log_p = log_probs(expert[self._lanes[some]])
                choice = torch.stack([divergence(log_p, log_q) for log_q in candidates], dim=1).argmax(dim=1)
            chosen.append(_picked(of_rows, self._rows[some], choice))
        return torch.cat(chosen)


def _picked(
    values: Float[Tensor, "row beam width"], rows: Int[Tensor, "lane candidate"], choice: Int[Tensor, "lane beam"]
) -> Float[Tensor, "lane beam width"]:
    """For each lane and beam the row of the candidate that it chose."""
    return values[rows.gather(1, choice), torch.arange(choice.shape[1], device=choice.device)]


def _way(amateur: Amateur) -> int:
    """How an early exit is chosen, by which the lanes are ordered."""
    if amateur.selection is Selection.fixed:
        return FIXED
    if amateur.selection is Selection.jsd:
        return BY_DIVERGENCE
    return BY_STATES if amateur.measure is Measure.saturation else BY_CONFIDENCE


def _choice(
    way: int, settings: Sequence[Setting], lanes: Sequence[int], start: int, device: torch.device
) -> _Choice | None:
    mine = [(setting, lane) for setting, lane in zip(settings, lanes, strict=True) if _way(setting.amateur) == way]
    if not mine:
        return None
    return _Choice(way, [setting for setting, _ in mine], [lane for _, lane in mine], start, device)


def _views(
    amateurs: Sequence[Amateur], lanes: Sequence[int], seconds: Mapping[Amateur, Second], device: torch.device
) -> list[_View]:
    """The different views in the order of their first read."""
    reads = [
        (lane, (layer, amateur.lens, _lens_of(amateur, seconds)))
        for lane, amateur in zip(lanes, amateurs, strict=True)
        for layer in amateur.exits
    ]
    found = []
    for layer, lens, tuned in dict.fromkeys(view for _, view in reads):
        mine = [row for row, (_, view) in enumerate(reads) if view == (layer, lens, tuned)]
        translator = None if tuned is None else tuned.translators[layer]
        read_by = [reads[row][0] for row in mine]
        found.append(_View(layer, lens, translator, index(mine, device), index(read_by, device)))
    return found


def _lens_of(amateur: Amateur, seconds: Mapping[Amateur, Second]) -> TunedLens | None:
    if amateur.lens is not Lens.tuned:
        return None
    lens = seconds[amateur]
    if not isinstance(lens, TunedLens):
        raise TypeError(f"{type(lens).__name__} is no lens")
    return lens
