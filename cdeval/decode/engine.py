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
from cdeval.config.enums import Ban, SearchKind
from cdeval.decode.adaptive import AdaptiveExits
from cdeval.decode.amateurs.batch import AmateurPart, Amateurs
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.answers import read_answers
from cdeval.decode.beam import Choice, survivors
from cdeval.decode.clock import Clock
from cdeval.decode.contrastive_search import ContrastiveSearch
from cdeval.decode.endings import Endings
from cdeval.decode.finite import Faults
from cdeval.decode.generate import generate_lane
from cdeval.decode.lanes import BatchStats, Continuation, Lane
from cdeval.decode.objective import CANDIDATES, ban, log_probs
from cdeval.decode.reader import Reader
from cdeval.decode.searches import NextTokens, Search, open_search
from cdeval.decode.watch import Watch
from cdeval.models.attention import lanes_attend
from cdeval.models.exits import tap
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import banned_tokens

# Lanes whose scores are worked out together on a CPU: few enough for the vocabulary-wide intermediate tensors to stay
# in the processor's cache and below the size at which the allocator asks the system for fresh pages every step.
LANES_AT_ONCE = 2

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
) -> tuple[list[Continuation], BatchStats]:
    """Continue lanes of one shape together.

    `amateur_models` holds what amateurs and lenses are made of beside the expert, `on_step` hears how many tokens are
    gained, `watch` sees every step of a single lane, by whatever search that scores tokens. `forced` takes tokens in
    place of greedy search: none is banned, none ends a text. A lane without a token has a `fault`; the others go on.

    Raises: ValueError: no lanes, or of different shapes, or contrastive search with an amateur, a rule, early exits or
        a watch, or several lanes with a watch. ConfigError, ModelError: as `generate_lane`.
    """
    if watch is not None and (len(lanes) != 1 or lanes[0].setting.search in _UNWATCHED):
        raise ValueError("one lane is watched at a time, and none by contrastive search or by transformers")
    if len({lane.shape for lane in lanes}) != 1:
        raise ValueError("a batch needs lanes of one shape: equal prompt length, search, beams, new tokens and ban")
    if lanes[0].setting.search is SearchKind.hf:
        return generate_lane(expert, lanes[0], on_step)
    settings = [lane.setting for lane in lanes]
    amateurs, asks = Amateurs(lanes, expert, amateur_models), expert.device.type in ASKED_AT_EVERY_STEP
    adaptive = AdaptiveExits(settings, expert, amateur_models, asks=asks)
    # Without an amateur a draw may fall on any token, and a rule may leave any: such lanes need the whole vocabulary.
    drawn = settings[0].search is SearchKind.sample
    whole = any(one.masks_alone or (drawn and not one.amateur.contrasts) for one in settings)
    prompts = [lane.prompt for lane in lanes]
    models = [one.model for one in (expert, *amateur_models.values()) if isinstance(one, LanguageModel)]
    with lanes_attend(models), tap(expert.parts, amateurs.layers) as tapped, adaptive.hooked():
        narrow = amateurs.only_candidates and not whole and watch is None and forced is None
        run = _Run(expert, lanes, amateurs, adaptive, tapped, candidate_head=narrow)
        run.watch = watch
        run.force(forced)
        stats = run.through(prompts, compact_every, on_step)
        if run.crowded():
            on_step(-len(lanes) * len(run.tokens))
            run = _Run(expert, lanes, amateurs, adaptive, tapped, candidate_head=False)
            stats = run.through(prompts, compact_every, on_step).after(stats)
    return run.continuations(), stats


class _Run:
    """The state of one batch between steps; all tensors live on the model's device."""

    def __init__(
        self,
        expert: LanguageModel,
        lanes: Sequence[Lane],
        amateurs: Amateurs,
        adaptive: AdaptiveExits,
        tapped: Mapping[int, Float[Tensor, "lane position width"]],
        *,
        candidate_head: bool,
    ) -> None:
        setting, count, device = lanes[0].setting, len(lanes), expert.device
        self._reader = Reader(expert, setting.beams)
        self.tokens: list[Int[Tensor, "lane beam"]] = []
        self._parents: list[Int[Tensor, "lane beam"]] = []
        self._expert, self._amateurs, self._adaptive, self._tapped = expert, amateurs, adaptive, tapped
        adaptive.follow(self._reader.cache)
        self._depths: list[Int[Tensor, "lane beam"]] = []  # blocks that the rows read went through
        self._beams, self._new_tokens = setting.beams, setting.max_new_tokens
        size = LANES_AT_ONCE if device.type == "cpu" else count
        slices = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        self._parts = [(part, amateurs.part(part)) for part in slices]
        self._totals: Float[Tensor, "lane beam"] = torch.zeros(count, 1, device=device)
        self._logprobs: Float[Tensor, "lane beam"] = torch.zeros(count, 1, device=device)
        self._ended = torch.zeros(count, setting.beams, dtype=torch.bool, device=device)  # beams that only fill a row
        banned = banned_tokens(setting.ban, expert.model, expert.tokenizer, expert.ends)
        self._banned = torch.tensor(banned, dtype=torch.long, device=device)
        # Otherwise lengths are fixed, and there are no endings to watch for.
        self._ends = torch.tensor(expert.ends if setting.ban is Ban.none else (), dtype=torch.long, device=device)
        falls = torch.tensor([not lane.setting.amateur.contrasts for lane in lanes], device=device)
        self._endings = Endings(falls, first_wins=setting.search is not SearchKind.beam)
        self._faults = Faults(count, device)
        self._search = open_search(lanes, len(self._ends), expert.parts.head_weight.shape[0], device)
        self._contrastive: ContrastiveSearch | None = None
        if setting.search is SearchKind.contrastive_search:
            if amateurs.any or adaptive.any:
                raise ValueError("contrastive search has no amateur, no rule of plausibility and no early exits")
            self._contrastive = ContrastiveSearch([lane.setting for lane in lanes], device)
        self._candidate_head = candidate_head
        self.watch: Watch | None = None
        self._widens = device.type in ASKED_AT_EVERY_STEP
        self._crowded = torch.zeros((), dtype=torch.bool, device=device)

    def through(
        self, prompts: Sequence[tuple[int, ...]], compact_every: int, on_step: Callable[[int], None]
    ) -> BatchStats:
        """Take all steps."""
        clock = Clock(self._expert.device)
        self.prefill(prompts)
        on_step(len(prompts))
        clock.mark()
        for step in range(1, self._new_tokens):
            self.step()
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
            steps=len(self.tokens),
            step_seconds=step_seconds,
            wall_seconds=wall_seconds,
            peak_slots=self._reader.cache.peak_slots,
            amateur_slots=self._amateurs.peak_slots,
        )

    def force(self, search: Search | None) -> None:
        """Take the tokens that another search names, if there is one, whatever they are."""
        if search is not None:
            self._search, self._banned, self._ends = search, self._banned[:0], self._ends[:0]

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read the prompts, choose the first tokens."""
        hidden, sources = self._reader.prefill(prompts)
        # The exits first: an amateur that shares the expert's blocks passes through the same taps.
        exit_rows = self._amateurs.exit_rows({layer: out[sources, -1:] for layer, out in self._tapped.items()}, step=0)
        self._amateurs.prefill(prompts)
        if self._contrastive is not None:
            self._contrastive.open(hidden[sources])
        self._advance(hidden[sources, -1:], exit_rows)

    def step(self) -> None:
        """Read the last tokens of all beams, choose the next ones."""
        # Contrastive search has read them already, to choose among them.
        chosen = self._contrastive.hidden if self._contrastive is not None else None
        hidden = self._read() if chosen is None else chosen
        exit_rows = self._amateurs.exit_rows(self._tapped, len(self.tokens))
        self._amateurs.read(self.tokens[-1])
        self._advance(hidden, exit_rows)

    def _read(self) -> Float[Tensor, "lane beam head_width"]:
        """Read the last tokens of all beams; a row may exit early."""
        self._adaptive.open(len(self.tokens))
        hidden = self._reader.read(self.tokens[-1])
        self._depths += self._adaptive.close()
        return hidden

    def compact(self) -> None:
        """Drop what no living beam descends from, of the expert's and the amateurs' caches."""
        self._reader.cache.compact()
        self._amateurs.compact()

    def _advance(
        self, hidden: Float[Tensor, "lane beam head_width"], exit_rows: list[Float[Tensor, "row beam head_width"]]
    ) -> None:
        lanes = hidden.shape[0]
        logits = self._expert.parts.logits(hidden if self._candidate_head else torch.cat([hidden, *exit_rows]))
        amateur_rows = exit_rows[0] if self._candidate_head else self._amateurs.logits(logits, len(self.tokens))
        found = [
            self._choose(logits[:lanes][part], amateur_rows[amateur.rows], part, amateur)
            for part, amateur in self._parts
        ]
        choice = Choice(*(torch.cat(columns) for columns in zip(*(of_part for of_part, _ in found), strict=True)))
        picked = torch.cat([picked for _, picked in found])
        bad = self._without_numbers(len(self.tokens), choice.total[:, 0], picked[:, 0])
        choice = choice._replace(total=choice.total.masked_fill(bad[:, None], -torch.inf))
        if self._contrastive is not None:
            choice = self._contrastive.children(choice, self._totals)
        logprobs = self._logprobs.gather(1, choice.parent) + picked
        if len(self._ends) and self._contrastive is None:
            ends = torch.isin(choice.token, self._ends)
            self._endings.note(choice, ends, logprobs, len(self.tokens), self._beams)
            choice, order = survivors(choice, ends, self._beams)
            logprobs, self._ended = logprobs.gather(1, order), ends.gather(1, order)
        self._totals, self._logprobs = choice.total, logprobs
        self.tokens.append(choice.token)
        self._parents.append(choice.parent)
        self._reader.cache.reorder(choice.parent)
        self._amateurs.reorder(choice.parent)
        if self.watch is not None:
            self.watch.kept(choice)
        if self._contrastive is not None:
            self._settle(self._contrastive, picked)

    def _without_numbers(self, step: int, total: Float[Tensor, " lane"], log_expert: Float[Tensor, " lane"]) -> Tensor:
        """Note the lanes that cannot go on by their best extension; returns which."""
        decided = self._endings.decided(self._totals) if len(self._ends) else None
        return self._faults.note(step, total, log_expert, decided)

    def _settle(self, search: ContrastiveSearch, log_p: Float[Tensor, "lane candidate"]) -> None:
        """Contrastive search: read the candidates, choose one; an end among them ends a text once it is chosen."""
        hidden = self._reader.read(self.tokens[-1])
        totals, step = search.choose(hidden, log_p, self._totals), len(self.tokens) - 1
        best = totals.amax(dim=1)
        # What is impossible was noted before the candidates were read: here only what they say of themselves is new.
        bad = self._without_numbers(step, best, torch.where(best.isnan(), best, torch.zeros_like(best)))
        self._totals = totals.masked_fill(bad[:, None], -torch.inf)
        if len(self._ends):
            columns = (self._parents[-1], self.tokens[-1], self._totals, self._logprobs)
            parent, token, total, logprob = (column.gather(1, search.best) for column in columns)
            chosen = Choice(parent, token, total)
            self._endings.note(chosen, torch.isin(token, self._ends), logprob, step, beams=1)

    def _choose(
        self,
        expert_logits: Float[Tensor, "lane beam vocab"],
        amateur_rows: Float[Tensor, "contrasted beam width"],
        part: slice,
        amateur: AmateurPart,
    ) -> tuple[Choice, Float[Tensor, "lane choice"]]:
        """The extensions of some lanes that go on, and the expert's log-probability of each one's token.

        `amateur_rows` are logits, or what the candidate-only head makes them of.
        """
        totals, step = self._totals[part], len(self.tokens)
        log_expert = ban(log_probs(expert_logits), self._banned)
        if not self._candidate_head:
            scores = amateur.scores(log_expert, amateur_rows)
            if self.watch is not None:
                self.watch.scored(log_expert, amateur.log_probs(log_expert, amateur_rows), scores)
            choice = self._search.choose(part, step, NextTokens(scores, totals, log_expert, self._ended[part]))
            return choice, log_expert.flatten(1).gather(1, choice.parent * log_expert.shape[-1] + choice.token)
        found = amateur.candidates(log_expert, max(CANDIDATES, self._search.count), widen=self._widens)
        self._crowded |= found.crowded
        log_expert, tokens = found.log_expert, found.tokens
        amateur_logits = self._expert.parts.logits_of(amateur_rows, amateur.contrasted(tokens))
        scores = amateur.scores(log_expert, amateur_logits, found.masked)
        choice = self._search.choose(part, step, NextTokens(scores, totals, log_expert, self._ended[part], tokens))
        place = choice.parent * scores.shape[-1] + choice.token
        choice = choice._replace(token=tokens.flatten(1).gather(1, place))
        return choice, log_expert.flatten(1).gather(1, place)

    def crowded(self) -> bool:
        """Whether some plausible set was wider than the candidate-only head looked; asked once, at the end."""
        return self._candidate_head and bool(self._crowded)

    def settled(self) -> bool:
        """Whether every text has ended; only asked where texts may end."""
        return len(self._ends) > 0 and bool((self._endings.decided(self._totals) | self._faults.any_of).all())

    def continuations(self) -> list[Continuation]:
        """Read the answers back from the device: the first time that the host waits for it, but for compaction."""
        endings = self._endings.final(self._totals, self._logprobs, len(self.tokens) - 1)
        if self.watch is not None:
            self.watch.ended(endings[0])
        pointers = (self._parents, self.tokens, self._depths)
        return read_answers(pointers, endings, self._faults.read(), self._adaptive.lanes)
