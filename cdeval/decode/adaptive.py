r"""Early exits of the expert itself: Confident Adaptive Language Modeling (Schuster et al. 2022), row by row.

A row is one beam of one lane at one step. After block k of the layers with an exit it is asked how sure it is:

    c_k >= λ'(t)  ->  the row exits: its next token is that of the final norm and the head on h_k, or on its translation
    softmax:     c_k = largest - second largest probability of that head
    saturation:  c_k = cos(h_k, h_{k-1})

with the measures and the falling threshold of `cdeval.decode.selection`. What a later token attends to in the blocks
that were skipped is computed from the state at the exit, as published (section 3, "state propagation"):

    block      1    2    3    4
    row a      h1   h2   h2   h2        exits after 2: its keys and values in blocks 3 and 4 are those of h2
    row b      h1   h2   h3   h4        goes through all blocks, and attends to row a there

So in the blocks after its exit a row's output is its input, and nothing else differs. Through a linear lens
(`search.adaptive_exit.lens`) the last block hands h_k + A h_k + b to the final norm, which no later token sees. Prompts
are read by all blocks, and with them the first token of a continuation is chosen; exits begin with the second one
(t = 1).

Rows that have exited take no part in what follows (`cdeval.decode.skipping`): a block of which no row needs more than
its keys and values ends with these, and nobody is asked twice. For that the host asks how many have exited, after each
layer with an exit: on a CPU alone, because any other device would wait for it; there every block is computed for all
rows, and what an exit has made needless is dropped. The FLOPs that are reported (`cdeval.cost.flops`) are those of a
decoder that skips row by row, whatever a batch can drop.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.amateur import Amateur
from cdeval.config.exits import ConfidenceMeasure
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.decode.amateurs.early_exit import lens_of
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.cache import LaneCache
from cdeval.decode.objective import log_probs
from cdeval.decode.selection import COMPARED_AT_ONCE, gap, saturation, thresholds
from cdeval.decode.skipping import Skipping
from cdeval.decode.steps import Step, at_step
from cdeval.models.exits import change
from cdeval.models.lens import Translator, translated
from cdeval.models.loading import LanguageModel


class _Question(NamedTuple):
    """Lanes that are asked after the same block, in the same way."""

    measure: ConfidenceMeasure
    lanes: Int[Tensor, " lane"]  # of the batch
    levels: Float[Tensor, "step lane"]  # how sure they must be
    translator: Translator | None  # of the lens that they are read through, if any


class AdaptiveExits:
    """The expert's own early exits in a batch; its lanes may have different ones, or none.

    Between `open` and `close` the expert reads one token a row. Outside, its blocks are left alone: prompts go through
    all of them, and so does an amateur that shares them.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        expert: LanguageModel,
        amateur_models: Mapping[Amateur, AmateurModel],
        *,
        asks: bool,
    ) -> None:
        """Open the exits of a batch.

        Args:
            settings: of its lanes.
            expert: whose exits they are.
            amateur_models: what amateurs and lenses are made of.
            asks: whether the host may ask at every step which rows have exited, so that they skip what follows.

        Raises: KeyError: a linear lens is not among `amateur_models`.
        """
        self._parts = expert.parts
        self._shape, self._device = (len(settings), settings[0].beams), expert.device
        self._at_once = COMPARED_AT_ONCE if expert.device.type == "cpu" else len(settings)
        rules = {lane: one.adaptive_exit for lane, one in enumerate(settings) if one.adaptive_exit is not None}
        self.lanes = frozenset(rules)  # that may exit early
        self._questions = _questions(rules, settings[0].max_new_tokens, self._device, amateur_models)
        self._first = min(self._questions, default=0)
        self._skips = asks and bool(rules)
        self._skipping = Skipping(list(expert.parts.blocks)[self._first :] if self._skips else [])
        self._step: Step | None = None  # tokens before the one whose rows are read; None: nothing is changed
        self._state: Tensor = torch.empty(0)  # [lane, beam, width], what the last block handed on
        self._depths: Int[Tensor, "lane beam"] = torch.empty(0, 0, dtype=torch.long)

    @property
    def any(self) -> bool:
        """Whether any lane's expert may exit early."""
        return bool(self.lanes)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Let rows exit at every forward pass of the expert inside the `with` block that `open` announces."""
        # From the block before the first question on: saturation compares with what that one handed on.
        layers = range(max(1, self._first - 1), self._parts.depth + 1) if self.any else ()
        with change(self._parts, layers, self._pass), self._skipping.hooked():
            yield

    def follow(self, cache: LaneCache) -> None:
        """Take part in the expert's passes: its cache says when a block's keys and values are stored."""
        if self._skips:
            for layer in cache.layers[self._first :]:
                layer.stored = self._skipping.stored

    def open(self, step: Step) -> None:
        """The next forward pass of these blocks is the expert's, after `step` tokens of the continuations."""
        if self.any:
            self._step = step
            self._skipping.all_go_on()
            self._depths = torch.full(self._shape, self._parts.depth, dtype=torch.long, device=self._device)

    def close(self) -> Int[Tensor, "lane beam"] | None:
        """Return after a pass through how many blocks each row went; None where nobody exits early."""
        self._step = None
        self._skipping.all_go_on()
        return self._depths if self.any else None

    def _pass(self, layer: int, hidden: Tensor) -> Tensor:
        """Choose what block `layer` hands on, [lane, beam, width]: its output, or its input if a row has exited."""
        if self._step is None:
            return hidden
        if layer > self._first:
            exited = self._depths < layer
            hidden = torch.where(exited[..., None], self._state, hidden)
        questions = self._questions.get(layer, ())
        for question in questions:
            self._ask(question, layer, hidden, self._step)
        self._state = hidden
        if questions and self._skips:
            self._skipping.exited(self._depths < self._parts.depth)
        return self._translated(hidden) if layer == self._parts.depth else hidden

    def _translated(self, hidden: Float[Tensor, "lane beam width"]) -> Float[Tensor, "lane beam width"]:
        """Make what the final norm reads: rows that exited through a lens have their state of that layer translated."""
        for layer, questions in self._questions.items():
            for question in questions:
                if question.translator is not None:
                    rows, left = hidden[question.lanes], self._depths[question.lanes] == layer
                    seen = torch.where(left[..., None], translated(question.translator, rows), rows)
                    hidden = hidden.index_copy(0, question.lanes, seen)
        return hidden

    def _ask(self, question: _Question, layer: int, hidden: Float[Tensor, "lane beam width"], step: Step) -> None:
        rows, depths = hidden[question.lanes], self._depths[question.lanes]
        if question.measure is ConfidenceMeasure.softmax:
            confidence = self._confidence(question, rows, depths < self._parts.depth)
        else:
            confidence = saturation(rows, self._state[question.lanes] if layer > 1 else None)
        # A confidence that is NaN counts as sure, so that the row's logits, which are NaN then, come to be seen.
        leave = ~(confidence < at_step(question.levels, step)[:, None]) & (depths == self._parts.depth)
        self._depths = self._depths.index_copy(0, question.lanes, depths.masked_fill(leave, layer))

    def _confidence(
        self, question: _Question, rows: Float[Tensor, "asked beam width"], exited: Bool[Tensor, "asked beam"]
    ) -> Float[Tensor, "asked beam"]:
        """The gaps of the two largest probabilities; any number for a row that has exited and need not be asked."""
        if not self._skips:
            return self._gaps(rows if question.translator is None else translated(question.translator, rows))
        asked = (~exited).flatten().nonzero()[:, 0]  # each of the others would cost a row of the head
        confidence = torch.zeros(exited.shape, device=rows.device)
        if not len(asked):
            return confidence
        some = rows.flatten(0, 1).index_select(0, asked)[:, None]
        gaps = self._gaps(some if question.translator is None else translated(question.translator, some))
        return confidence.flatten().index_copy(0, asked, gaps[:, 0]).view(exited.shape)

    def _gaps(self, rows: Float[Tensor, "asked beam width"]) -> Float[Tensor, "asked beam"]:
        logits = self._parts.logits(self._parts.finish(rows))
        return torch.cat([gap(log_probs(some)) for some in torch.split(logits, self._at_once)])


def _questions(
    rules: Mapping[int, AdaptiveExit], steps: int, device: torch.device, amateur_models: Mapping[Amateur, AmateurModel]
) -> dict[int, tuple[_Question, ...]]:
    """List by block which lanes are asked after it."""
    found: dict[int, list[_Question]] = {}
    ways = dict.fromkeys((rule.measure, rule.read_as) for rule in rules.values())
    for layer in sorted({layer for rule in rules.values() for layer in rule.layers}):
        for measure, read_as in ways:
            asked = {
                lane: rule
                for lane, rule in rules.items()
                if (rule.measure, rule.read_as) == (measure, read_as) and layer in rule.layers
            }
            if not asked:
                continue
            # A value a step and lane, made once: a step sends nothing to the device.
            levels = [thresholds(rule.threshold, steps, rule.decay) for rule in asked.values()]
            lanes = torch.tensor(list(asked), dtype=torch.long, device=device)
            translator = None if read_as is None else lens_of(read_as, amateur_models).translators[layer]
            question = _Question(measure, lanes, torch.tensor(levels, device=device).T, translator)
            found.setdefault(layer, []).append(question)
    return {layer: tuple(questions) for layer, questions in found.items()}
