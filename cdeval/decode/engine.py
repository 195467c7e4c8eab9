"""The loop: prefill every prompt once, then one forward pass a step for all lanes, all beams, expert and amateur.

A *lane* is one prompt under one setting. Lanes are the model's batch; the W beams of a lane are W positions of its
sequence that share one position id, told apart by the ancestry mask (`cdeval.decode.cache`). The exit layers' hidden
states come from the expert's own pass and go through the head stacked with the expert's rows, so that its weights are
read once. Tokens, parents and scores stay on the device; texts are read from back-pointers at the end.
Sampling is a beam of one whose next token is drawn; contrastive search feeds its candidates as the beams of a lane and
chooses among them once they are read. The expert's own early exits (`cdeval.decode.adaptive`) are in its forward pass.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Compile, SearchKind
from cdeval.decode.adaptive import AdaptiveExits
from cdeval.decode.amateurs.batch import Amateurs
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.answers import Pointers, read_answers
from cdeval.decode.beam import Choice, survivors
from cdeval.decode.choosing import Chooser, Texts, needs_whole_vocabulary
from cdeval.decode.clock import Clock
from cdeval.decode.contrastive_search import ContrastiveSearch
from cdeval.decode.endings import Endings
from cdeval.decode.finite import Faults
from cdeval.decode.fixed_cache import FixedLaneCache, fit
from cdeval.decode.generate import generate_lane
from cdeval.decode.lanes import BatchStats, Continuation, Lane
from cdeval.decode.reader import Reader
from cdeval.decode.searches import Search
from cdeval.decode.static import Stateful, StaticStep, compiles
from cdeval.decode.steps import Step
from cdeval.decode.watch import Watch
from cdeval.models.attention import lanes_attend
from cdeval.models.exits import tap
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import banned_tokens

# Where the host may ask at every step: which rows have exited early, and whether a plausible set is wider than the
# candidate-only head looks. Asking makes any other device wait: there it asks once, at the end, and decodes again.
ASKED_AT_EVERY_STEP = ("cpu",)

_UNWATCHED = (SearchKind.contrastive_search, SearchKind.hf)  # score no tokens that could be watched


@torch.inference_mode()
def decode_batch(  # noqa: PLR0913 - most with a default
    expert: LanguageModel,
    lanes: Sequence[Lane],
    compact_every: int,
    on_step: Callable[[int], None] = lambda _tokens: None,
    amateur_models: Mapping[Amateur, AmateurModel] = MappingProxyType({}),
    *,
    watch: Watch | None = None,
    forced: Search | None = None,
    compiling: Compile = Compile.auto,
) -> tuple[list[Continuation], BatchStats]:
    """Continue lanes of one shape together.

    `amateur_models` holds what amateurs and lenses are made of beside the expert, `on_step` hears how many tokens are
    gained, `watch` sees every step of a single lane, by whatever search that scores tokens. `forced` takes tokens in
    place of greedy search: none is banned, none ends a text. A lane without a token has a `fault`; the others go on.
    `compiling` says whether a step is one program (`cdeval.decode.static`).

    Raises: ValueError: no lanes, or of different shapes, or contrastive search with an amateur, a rule, early exits or
        a watch, or several lanes with a watch. ConfigError, ModelError: as `generate_lane`. ConfigError: `compiling` is
        `always`, and something here cannot be compiled.
    """
    if watch is not None and (len(lanes) != 1 or lanes[0].setting.search in _UNWATCHED):
        raise ValueError("one lane is watched at a time, and none by contrastive search or by transformers")
    if len({lane.shape for lane in lanes}) != 1:
        raise ValueError("a batch needs lanes of one shape: equal prompt length, search, beams, new tokens and ban")
    settings = [lane.setting for lane in lanes]
    if settings[0].search is SearchKind.hf:
        compiles(compiling, expert, settings)
        return generate_lane(expert, lanes[0], on_step)
    amateurs = Amateurs(lanes, expert, amateur_models)
    read_by = "a trace" if watch is not None else "reading a given text" if forced is not None else ""
    static = compiling if compiles(compiling, expert, settings, amateurs.models, read_by) else None
    if static is not None:
        amateurs.fix()
    adaptive = AdaptiveExits(settings, expert, amateur_models, asks=_asks(expert.device, static))
    prompts = [lane.prompt for lane in lanes]
    models = [one.model for one in (expert, *amateur_models.values()) if isinstance(one, LanguageModel)]
    with lanes_attend(models), tap(expert.parts, amateurs.layers) as tapped, adaptive.hooked():
        narrow = amateurs.only_candidates and not needs_whole_vocabulary(settings) and watch is None and forced is None
        run = _Run(expert, lanes, amateurs, adaptive, tapped, candidate_head=narrow, static=static)
        run.observe(watch, forced)
        stats = run.through(prompts, compact_every, on_step)
        if run.crowded():
            on_step(-len(lanes) * run.taken)
            run = _Run(expert, lanes, amateurs, adaptive, tapped, candidate_head=False, static=static)
            stats = run.through(prompts, compact_every, on_step).after(stats)
    return run.continuations(), stats


def _asks(device: torch.device, static: Compile | None) -> bool:
    """Whether the host may ask at every step, which no compiled step can be asked."""
    return device.type in ASKED_AT_EVERY_STEP and static is None


class _Run:
    """The state of one batch between steps; all tensors live on the model's device."""

    state = ("tokens", "_step", "_totals", "_logprobs", "_ended")

    def __init__(  # noqa: PLR0913 - one with a default
        self,
        expert: LanguageModel,
        lanes: Sequence[Lane],
        amateurs: Amateurs,
        adaptive: AdaptiveExits,
        tapped: Mapping[int, Float[Tensor, "lane position width"]],
        *,
        candidate_head: bool,
        static: Compile | None = None,
    ) -> None:
        setting, count, device = lanes[0].setting, len(lanes), expert.device
        self._reader = Reader(expert, setting.beams)
        self.taken = 0  # tokens that each text has, as the host counts
        self._step: Step = 0  # the same number, of which the device makes its own where steps are compiled
        self.tokens: Int[Tensor, "lane beam"] = torch.zeros(count, setting.beams, dtype=torch.long, device=device)
        self._expert, self._amateurs, self._adaptive, self._tapped = expert, amateurs, adaptive, tapped
        self._beams, self._new_tokens, self._static = setting.beams, setting.max_new_tokens, static
        if static is not None:
            self._reader.fix()
        adaptive.follow(self._reader.cache)
        self._pointers = Pointers(self._new_tokens, count, self._beams, device, exiting=adaptive.any)
        self._totals: Float[Tensor, "lane beam"] = torch.zeros(count, 1, device=device)
        self._logprobs: Float[Tensor, "lane beam"] = torch.zeros(count, 1, device=device)
        self._ended = torch.zeros(count, setting.beams, dtype=torch.bool, device=device)  # beams that only fill a row
        found = banned_tokens(setting.ban, expert.model, expert.tokenizer, expert.ends)
        banned = torch.tensor(found, dtype=torch.long, device=device)
        # Otherwise lengths are fixed, and there are no endings to watch for.
        self._ends = torch.tensor(expert.ends if setting.ban is Ban.none else (), dtype=torch.long, device=device)
        falls = torch.tensor([not lane.setting.amateur.contrasts for lane in lanes], device=device)
        self._endings = Endings(falls, first_wins=setting.search is not SearchKind.beam)
        self._faults = Faults(count, device)
        self._chooser = Chooser(
            expert, lanes, amateurs, len(self._ends), banned, candidate_head=candidate_head, asks=_asks(device, static)
        )
        self._contrastive: ContrastiveSearch | None = None
        if setting.search is SearchKind.contrastive_search:
            if amateurs.any or adaptive.any:
                raise ValueError("contrastive search has no amateur, no rule of plausibility and no early exits")
            self._contrastive = ContrastiveSearch([lane.setting for lane in lanes], device)
        self._watch: Watch | None = None

    def through(
        self, prompts: Sequence[tuple[int, ...]], compact_every: int, on_step: Callable[[int], None]
    ) -> BatchStats:
        """Take all steps."""
        clock = Clock(self._expert.device)
        self.prefill(prompts)
        on_step(len(prompts))
        clock.mark()
        take = self.step if self._static is None else StaticStep(self, self._static)
        for step in range(1, self._new_tokens):
            take()
            self.taken += 1
            on_step(len(prompts))
            compacting = compact_every and step % compact_every == 0
            if compacting:
                self.compact()
            clock.mark()
            if compacting and self.settled():
                break
        step_seconds, wall_seconds = clock.read()
        return BatchStats(
            lanes=len(prompts),
            steps=self.taken,
            step_seconds=step_seconds,
            wall_seconds=wall_seconds,
            peak_slots=self._reader.cache.peak_slots,
            amateur_slots=self._amateurs.peak_slots,
        )

    def observe(self, watch: Watch | None, forced: Search | None) -> None:
        """Show every step to a watch, and take the tokens that another search names, whatever they are, if given."""
        self._watch = self._chooser.watch = watch
        if forced is not None:
            self._chooser.force(forced)
            self._ends = self._ends[:0]

    @property
    def caches(self) -> list[FixedLaneCache]:
        """The caches in fixed storage, the amateurs' among them; none where steps are not compiled."""
        readers = (self._reader, *self._amateurs.readers)
        return [reader.cache for reader in readers if isinstance(reader.cache, FixedLaneCache)]

    def holders(self) -> list[Stateful]:
        """List all whose state a step changes."""
        own: list[Stateful] = [self, self._reader, self._endings, self._faults, self._chooser, *self._amateurs.holders]
        return own if self._contrastive is None else [*own, self._contrastive]

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read the prompts, choose the first tokens."""
        hidden, sources = self._reader.prefill(prompts)
        # The exits first: an amateur that shares the expert's blocks passes through the same taps.
        exit_rows = self._amateurs.exit_rows({layer: out[sources, -1:] for layer, out in self._tapped.items()}, step=0)
        self._amateurs.prefill(prompts)
        if self._contrastive is not None:
            self._contrastive.open(hidden[sources])
        self._advance(hidden[sources, -1:], exit_rows)
        self.taken = 1
        if self._contrastive is not None:  # has read the candidates
            for cache in self.caches:
                cache.take()

    def step(self) -> None:
        """Read the last tokens of all beams, choose the next ones."""
        # Contrastive search has read them already, to choose among them.
        chosen = self._contrastive.hidden if self._contrastive is not None else None
        hidden = self._read() if chosen is None else chosen
        exit_rows = self._amateurs.exit_rows(self._tapped, self._step)
        self._amateurs.read(self.tokens)
        self._advance(hidden, exit_rows)

    def _read(self) -> Float[Tensor, "lane beam head_width"]:
        """Read the last tokens of all beams; a row may exit early."""
        self._adaptive.open(self._step)
        hidden = self._reader.read(self.tokens)
        depths = self._adaptive.close()
        if depths is not None:
            self._pointers.write_depths(self._step, depths)
        return hidden

    def compact(self) -> None:
        """Drop what no living beam descends from, of the expert's and the amateurs' caches."""
        self._reader.cache.compact()
        self._amateurs.compact()
        if self.caches:
            fit(self.caches, shrinking=True)

    def _advance(
        self, hidden: Float[Tensor, "lane beam head_width"], exit_rows: list[Float[Tensor, "row beam head_width"]]
    ) -> None:
        step = self._step
        choice, picked = self._chooser.choose(hidden, exit_rows, Texts(self._totals, self._ended, step))
        bad = self._without_numbers(step, choice.total[:, 0], picked[:, 0])
        choice = choice._replace(total=choice.total.masked_fill(bad[:, None], -torch.inf))
        if self._contrastive is not None:
            choice = self._contrastive.children(choice, self._totals)
        logprobs = self._logprobs.gather(1, choice.parent) + picked
        if len(self._ends) and self._contrastive is None:
            ends = torch.isin(choice.token, self._ends)
            self._endings.note(choice, ends, logprobs, step, self._beams)
            choice, order = survivors(choice, ends, self._beams)
            logprobs, self._ended = logprobs.gather(1, order), ends.gather(1, order)
        self._totals, self._logprobs, self.tokens = choice.total, logprobs, choice.token
        self._pointers.write(step, choice)
        self._reader.cache.reorder(choice.parent)
        self._amateurs.reorder(choice.parent)
        if self._watch is not None:
            self._watch.kept(choice)
        if self._contrastive is not None:
            self._settle(self._contrastive, choice, picked)
        self._step = step + 1

    def _without_numbers(self, step: Step, total: Float[Tensor, " lane"], log_expert: Float[Tensor, " lane"]) -> Tensor:
        """Note the lanes that cannot go on by their best extension; returns which."""
        decided = self._endings.decided(self._totals) if len(self._ends) else None
        return self._faults.note(step, total, log_expert, decided)

    def _settle(self, search: ContrastiveSearch, read: Choice, log_p: Float[Tensor, "lane candidate"]) -> None:
        """Contrastive search: read the candidates, choose one; an end among them ends a text once it is chosen."""
        hidden = self._reader.read(read.token)
        totals = search.choose(hidden, log_p, self._totals)
        best = totals.amax(dim=1)
        # What is impossible was noted before the candidates were read: here only what they say of themselves is new.
        bad = self._without_numbers(self._step, best, torch.where(best.isnan(), best, torch.zeros_like(best)))
        self._totals = totals.masked_fill(bad[:, None], -torch.inf)
        if len(self._ends):
            columns = (read.parent, read.token, self._totals, self._logprobs)
            parent, token, total, logprob = (column.gather(1, search.best) for column in columns)
            chosen = Choice(parent, token, total)
            self._endings.note(chosen, torch.isin(token, self._ends), logprob, self._step, beams=1)

    def crowded(self) -> bool:
        """Whether some plausible set was wider than the candidate-only head looked; asked once, at the end."""
        return self._chooser.candidate_head and bool(self._chooser.crowded)

    def settled(self) -> bool:
        """Whether every text has ended; only asked where texts may end."""
        return len(self._ends) > 0 and bool((self._endings.decided(self._totals) | self._faults.any_of).all())

    def continuations(self) -> list[Continuation]:
        """Read the answers back from the device: the first time that the host waits for it, but for compaction."""
        endings = self._endings.final(self._totals, self._logprobs, self.taken - 1)
        if self._watch is not None:
            self._watch.ended(endings[0])
        return read_answers(self._pointers.read(self.taken), endings, self._faults.read(), self._adaptive.lanes)
