"""Early exits of the expert as amateurs: from its blocks' outputs to a row of logits a lane and beam.

A lane reads one layer, or the candidates that it chooses among at every token (`decode.selection`). Layers and lenses
of all lanes share the head's product with the expert's rows, in which its weights are read once:

    blocks -> translators -> choice by hidden states -> norm -> head -> choice by distributions -> a row a lane and beam

A *read* is one layer through one lens for one lane; a *head row* is what the head is applied to. Both come in the order
of the lanes, and these in the order: fixed, choosing by hidden states, by confidence, by divergence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.amateur import AMATEURS, Amateur, AmateurKind
from cdeval.config.enums import Context, Normalizer
from cdeval.config.exits import (
    ConfidenceMeasure,
    Lens,
    Selection,
    blocks_of,
    check_depth,
    validate_exit,
    validate_layers,
)
from cdeval.config.labels import layers_name
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.config.setting import Setting
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.lanes import index
from cdeval.decode.objective import CANDIDATES
from cdeval.decode.selection import BY_CONFIDENCE, BY_DIVERGENCE, BY_EVOLUTION, BY_STATES, FIXED, ExitChoice
from cdeval.decode.steps import Step
from cdeval.errors import ConfigError, ModelError
from cdeval.models.lens import Translator, TunedLens, read_lens, seen_through, translated
from cdeval.models.loading import LanguageModel, OpenedModel
from cdeval.prompts.load import PromptSet


class _View(NamedTuple):
    """One layer through one lens, for all lanes that read it."""

    layer: int
    lens: Lens
    translator: Translator | None
    reads: Int[Tensor, " read"]
    lanes: Int[Tensor, " read"]  # of the batch


class Exits:
    """The early exits of a batch's lanes."""

    def __init__(
        self, settings: Sequence[Setting], expert: LanguageModel, amateur_models: Mapping[Amateur, AmateurModel]
    ) -> None:
        """Raises: KeyError: a lens that translates is not among `amateur_models`."""
        self._parts, device = expert.parts, expert.device
        mine = [i for i, setting in enumerate(settings) if setting.amateur.kind == EarlyExit.name]
        #: Of the batch, in the order of the rows that `logits` returns.
        self.lanes = sorted(mine, key=lambda lane: _way(settings[lane].amateur))
        amateurs = [settings[lane].amateur for lane in self.lanes]
        ways = [_way(amateur) for amateur in amateurs]
        self._everywhere = len(self.lanes) == len(settings)
        self._views = _views(amateurs, self.lanes, amateur_models, device)
        self._reads = sum(len(amateur.exits) for amateur in amateurs)
        self._fixed, states = ways.count(FIXED), ways.count(BY_STATES)
        self._settled = self._fixed + states  # head rows that nothing is left to choose among
        chosen = [settings[lane] for lane in self.lanes]
        self._by_states = _choice(BY_STATES, chosen, self.lanes, self._fixed, device)
        self._by_logits = []
        start = self._settled
        for way in (BY_CONFIDENCE, BY_DIVERGENCE, BY_EVOLUTION):
            if choice := _choice(way, chosen, self.lanes, start, device):
                self._by_logits.append(choice)
                start += choice.candidates
        lenses = [amateur.lens for amateur in amateurs for _ in range(head_rows(amateur))]
        raw = [row for row, lens in enumerate(lenses) if lens is Lens.raw]
        self._raw, self._all_raw = index(raw, device) if raw else None, len(raw) == len(lenses)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers to be tapped in the expert."""
        before = self._by_states.layers_before if self._by_states else ()
        return tuple(dict.fromkeys([*(view.layer for view in self._views), *before]))

    def rows(
        self, tapped: Mapping[int, Float[Tensor, "lane beam width"]], step: Step
    ) -> list[Float[Tensor, "row beam head_width"]]:
        """Make the rows that the head reads beside the expert's own.

        Returns: one tensor in a list; an empty list without early exits.
        """
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
        self, of_rows: Float[Tensor, "row beam vocab"], expert: Float[Tensor, "lane beam vocab"], step: Step
    ) -> Float[Tensor, "exit beam vocab"]:
        """Pick one row for each lane with an early exit from the head's rows; `expert` are the logits of all lanes."""
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


def _way(amateur: Amateur) -> int:
    """Tell how an early exit is chosen; lanes are ordered by it."""
    if amateur.selection is Selection.fixed:
        return FIXED
    if amateur.selection is Selection.jsd:
        return BY_DIVERGENCE
    if amateur.selection is Selection.sled:
        return BY_EVOLUTION
    return BY_STATES if amateur.measure is ConfidenceMeasure.saturation else BY_CONFIDENCE


def _choice(
    way: int, settings: Sequence[Setting], lanes: Sequence[int], start: int, device: torch.device
) -> ExitChoice | None:
    mine = [(setting, lane) for setting, lane in zip(settings, lanes, strict=True) if _way(setting.amateur) == way]
    if not mine:
        return None
    return ExitChoice(way, [setting for setting, _ in mine], [lane for _, lane in mine], start, device)


def _views(
    amateurs: Sequence[Amateur],
    lanes: Sequence[int],
    amateur_models: Mapping[Amateur, AmateurModel],
    device: torch.device,
) -> list[_View]:
    """List the different views in the order of their first read."""
    reads = [
        (lane, (layer, amateur.lens, lens_of(amateur, amateur_models) if amateur.lens.translates else None))
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


def lens_of(amateur: Amateur, amateur_models: Mapping[Amateur, AmateurModel]) -> TunedLens:
    """Look up the lens of an amateur whose lens translates. Raises: KeyError: it is not there."""
    lens = amateur_models[amateur]
    if not isinstance(lens, TunedLens):
        raise TypeError(f"{type(lens).__name__} is no lens")
    return lens


def head_rows(amateur: Amateur) -> int:
    """Count the head's rows for a beam: one, or one a candidate where their distributions are compared."""
    by_logits = amateur.selection in (Selection.jsd, Selection.sled) or amateur.measure is ConfidenceMeasure.softmax
    return len(amateur.layers) if by_logits else 1


class EarlyExit(AmateurKind):
    """The expert after some of its blocks, at no forward pass of its own."""

    name = "early_exit"
    reads = frozenset({"layer"})
    reads_expert = True

    def check(self, config: AmateurConfig, expert: ExpertConfig) -> None:
        """Check layers, choice and lens. Raises: ConfigError: they are missing or do not fit each other."""
        validate_layers("amateur.layer", config.layer, needed_by=self.name)
        validate_exit(config, config.layer)
        if config.context is not Context.full:
            raise ConfigError(
                f"amateur=early_exit reads what the expert reads: amateur.context={config.context.name} needs "
                "amateur=truncated, the same blocks with a forward pass of their own."
            )

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read which layers it reads through which lens, and how one of them is chosen."""
        chosen = config.selection is not Selection.fixed
        confident = config.selection is Selection.confidence
        return Amateur(
            self.name,
            layer=None if chosen else config.layer,
            lens=config.lens,
            lens_file=config.lens_file,
            lens_texts=config.lens_texts,
            selection=config.selection,
            layers=tuple(config.layer) if chosen else (),
            measure=config.measure if confident else None,
            threshold=config.threshold if confident else None,
            sled_tokens=config.sled_tokens if config.selection is Selection.sled else None,
        )

    def label(self, amateur: Amateur) -> str:
        """Name it for readers; the final norm goes without saying."""
        by = ""
        if amateur.selection is Selection.jsd:
            by = " by jsd"
        elif amateur.sled_tokens is not None:
            by = f" by sled of {amateur.sled_tokens}"
        elif amateur.measure is not None:
            by = f" by {amateur.measure.value} λ={amateur.threshold:g}"
        lens = "" if amateur.lens is Lens.norm else f" {amateur.lens.value} lens"
        return f"early_exit k={layers_name(amateur.exits)}{by}{lens}"

    def fits_temperature(self, config: AmateurConfig) -> bool:
        """Tell whether the exit is one fixed layer."""
        return config.selection is Selection.fixed

    def needs(self, config: AmateurConfig) -> tuple[str, str] | None:
        """Name the tuned lens, which random weights do not have."""
        return ("amateur.lens=tuned", "a lens that was trained for the weights") if config.lens is Lens.tuned else None

    def in_blocks(self, config: AmateurConfig, depth: int, expert: str) -> AmateurConfig:
        """Put blocks for fractions of the depth. Raises: ModelError: candidates of a choice fall together."""
        blocks = blocks_of(config.layer, depth)
        chosen = config.selection is not Selection.fixed
        if chosen and len(blocks) < 2:
            raise ModelError(
                f"amateur.layer={config.layer}: in {expert}, L={depth}, all of these are layer {blocks[0]}, which "
                f"leaves amateur.selection={config.selection.name} no choice. Give layers that lie further apart."
            )
        return replace(config, layer=blocks if chosen else blocks[0])

    def open(self, config: RunConfig, expert: OpenedModel) -> TunedLens | None:
        """Read the lens, if it has a file; a linear one is fitted once the expert is loaded.

        Raises: ModelError: a layer or the lens does not fit the expert.
        """
        amateur = self.amateur(config.amateur)
        for layer in amateur.exits:
            check_depth(expert.config.num_hidden_layers, layer, expert.name)
        if amateur.lens_file is None:
            return None
        return read_lens(Path(amateur.lens_file).expanduser(), amateur.exits, expert.config.hidden_size)

    def load(
        self, opened: TunedLens | None, config: RunConfig, expert: LanguageModel, prompts: PromptSet
    ) -> TunedLens | None:
        """Put the lens on the expert, if it has a file. Raises: ModelError: it is another expert's."""
        return None if opened is None else opened.on(expert)

    def head_rows(self, amateur: Amateur) -> int:
        """Count the rows as `head_rows` does."""
        return head_rows(amateur)

    def flops(self, amateur: Amateur, normalizer: Normalizer, costs: Any) -> int:
        """Count a translator for each layer that is read, and a row of the head for each whose logits are needed."""
        only_candidates = normalizer is Normalizer.candidates and head_rows(amateur) == 1
        head: int = costs.candidate_head(CANDIDATES) if only_candidates else costs.head
        translator: int = costs.translator
        return head_rows(amateur) * head + self._lenses(amateur) * translator

    def traffic(self, amateur: Amateur, normalizer: Normalizer, costs: Any, rows: int) -> int:
        """Count the rows of logits, or the head's rows of the candidates, and the translators once a step."""
        only_candidates = normalizer is Normalizer.candidates and head_rows(amateur) == 1
        row: int = CANDIDATES * costs.head_token if only_candidates else 2 * costs.logits
        translator: int = costs.translator
        return rows * head_rows(amateur) * row + self._lenses(amateur) * translator

    def _lenses(self, amateur: Amateur) -> int:
        return len(amateur.exits) if amateur.lens.translates else 0


AMATEURS.add(EarlyExit())
