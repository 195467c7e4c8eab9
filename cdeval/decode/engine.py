"""The loop: prefill every prompt once, then one forward pass a step for all lanes, all beams, expert and amateur.

A *lane* is one prompt under one setting. Lanes are the model's batch; the W beams of a lane are W positions of its
sequence that share one position id, told apart by the ancestry mask (`cdeval.decode.cache`). The exit layers' hidden
states come from the expert's own pass and go through the head stacked with the expert's rows, so that its weights are
read once. Tokens, parents and scores stay on the device; texts are read from back-pointers at the end.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config import SearchKind
from cdeval.decode.amateurs import AmateurPart, EarlyExits
from cdeval.decode.beam import Choice, backtrack, best_extensions, largest, survivors
from cdeval.decode.cache import LaneCache
from cdeval.decode.endings import Endings
from cdeval.decode.lanes import BatchStats, Continuation, Lane
from cdeval.decode.objective import CANDIDATES, ban, log_probs
from cdeval.models.attention import mask_rows
from cdeval.models.exits import tap
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import banned_tokens, end_tokens
from cdeval.records import Setting

# Lanes whose scores are worked out together on a CPU: few enough for the vocabulary-wide intermediate tensors to stay
# in the processor's cache and below the size at which the allocator asks the system for fresh pages every step.
LANES_AT_ONCE = 2


@torch.inference_mode()
def decode_batch(
    expert: LanguageModel, lanes: Sequence[Lane], compact_every: int, on_step: Callable[[int], None]
) -> tuple[list[Continuation], BatchStats]:
    """Continue lanes of one shape together.

    Raises: ValueError: no lanes, or of different shapes.
    """
    if len({lane.shape for lane in lanes}) != 1:
        raise ValueError("a batch needs lanes of one shape: equal prompt length, search, beams, new tokens and ban")
    settings = [lane.setting for lane in lanes]
    amateurs = EarlyExits(settings, expert.parts, expert.device)
    with tap(expert.parts, amateurs.layers) as tapped:
        run = _Run(expert, settings[0], amateurs, tapped, len(lanes), candidate_head=amateurs.only_candidates)
        stats = run.through([lane.prompt for lane in lanes], compact_every, on_step)
        if run.crowded():
            on_step(-len(lanes) * len(run.tokens))
            run = _Run(expert, settings[0], amateurs, tapped, len(lanes), candidate_head=False)
            stats = run.through([lane.prompt for lane in lanes], compact_every, on_step)
    return run.continuations(), stats


class _Run:
    """The state of one batch between steps; all tensors live on the model's device."""

    def __init__(
        self,
        expert: LanguageModel,
        setting: Setting,
        amateurs: EarlyExits,
        tapped: Mapping[int, Float[Tensor, "lane position width"]],
        lanes: int,
        *,
        candidate_head: bool,
    ) -> None:
        self.cache = LaneCache(expert.parts.depth, mask_rows(expert.model.config))
        self.tokens: list[Int[Tensor, "lane beam"]] = []
        self._parents: list[Int[Tensor, "lane beam"]] = []
        self._expert, self._amateurs, self._tapped = expert, amateurs, tapped
        self._beams, self._new_tokens = setting.beams, setting.max_new_tokens
        self._position = 0  # of the token that the next step feeds
        size = LANES_AT_ONCE if expert.device.type == "cpu" else lanes
        slices = [slice(start, min(start + size, lanes)) for start in range(0, lanes, size)]
        self._parts = [(part, amateurs.part(part)) for part in slices]
        device = expert.device
        self._totals: Float[Tensor, "lane beam"] = torch.zeros(lanes, 1, device=device)
        self._logprobs: Float[Tensor, "lane beam"] = torch.zeros(lanes, 1, device=device)
        banned = banned_tokens(setting.ban, expert.model, expert.tokenizer)
        self._banned = torch.tensor(banned, dtype=torch.long, device=device)
        # A banned end never comes up: lengths are then fixed and there are no endings to watch for.
        ends = [token for token in end_tokens(expert.model, expert.tokenizer) if token not in banned]
        self._ends = torch.tensor(ends, dtype=torch.long, device=device)
        self._endings = Endings(lanes, device, first_wins=setting.search is SearchKind.greedy)
        # With e ends, that many of each beam's best extensions may end it; the rest must still fill all beams.
        self._candidates = self._beams * max(2, 1 + len(ends)) if ends else self._beams
        self._candidate_head = candidate_head
        self._crowded = torch.zeros((), dtype=torch.bool, device=device)

    def through(
        self, prompts: Sequence[tuple[int, ...]], compact_every: int, on_step: Callable[[int], None]
    ) -> BatchStats:
        """All steps."""
        device = self._expert.device
        started = _now(device)
        self.prefill(prompts)
        on_step(len(prompts))
        prefilled = _now(device)
        for step in range(1, self._new_tokens):
            self.step()
            on_step(len(prompts))
            if compact_every and step % compact_every == 0:
                self.cache.compact()
                if self.settled():
                    break
        return BatchStats(
            lanes=len(prompts),
            steps=len(self.tokens),
            prefill_seconds=prefilled - started,
            decode_seconds=_now(device) - prefilled,
            peak_slots=self.cache.peak_slots,
        )

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Run each different prompt once, give its slots to all its lanes, choose the first tokens."""
        unique = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        device = self._expert.device
        sources = torch.tensor([unique[prompt] for prompt in prompts], dtype=torch.long, device=device)
        ids = torch.tensor(list(unique), dtype=torch.long, device=device)
        hidden = self._forward(ids, torch.arange(ids.shape[1], device=device)[None].expand_as(ids), None)
        self.cache.open_beams(sources, self._beams, hidden.dtype)
        exits = {layer: output[sources, -1:] for layer, output in self._tapped.items()}
        self._advance(hidden[sources, -1:], exits)
        self._position = ids.shape[1]

    def step(self) -> None:
        """Feed the last tokens of all beams, choose the next ones."""
        mask = self.cache.extend()
        positions = torch.full_like(self.tokens[-1], self._position)
        hidden = self._forward(self.tokens[-1], positions, mask)
        self._advance(hidden, self._tapped)
        self._position += 1

    def _forward(
        self, ids: Int[Tensor, "lane position"], positions: Int[Tensor, "lane position"], mask: Tensor | None
    ) -> Float[Tensor, "lane position head_width"]:
        output = self._expert.parts.base(
            input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=self.cache.hf, use_cache=True
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _advance(
        self, hidden: Float[Tensor, "lane beam head_width"], exits: Mapping[int, Float[Tensor, "lane beam width"]]
    ) -> None:
        lanes, finished = hidden.shape[0], self._amateurs.finished_rows(exits)
        stacked = hidden if self._candidate_head else torch.cat([hidden, *finished])
        logits = self._expert.parts.logits(stacked)
        (amateur_rows,) = finished if self._candidate_head else (logits[lanes:],)
        found = [
            self._choose(logits[:lanes][part], amateur_rows[amateur.rows], self._totals[part], amateur)
            for part, amateur in self._parts
        ]
        choice = Choice(*(torch.cat(columns) for columns in zip(*(of_part for of_part, _ in found), strict=True)))
        logprobs = self._logprobs.gather(1, choice.parent) + torch.cat([picked for _, picked in found])
        if len(self._ends):
            ends = torch.isin(choice.token, self._ends)
            self._endings.note(choice, ends, logprobs, len(self.tokens), self._beams)
            choice, order = survivors(choice, ends, self._beams)
            logprobs = logprobs.gather(1, order)
        self._totals, self._logprobs = choice.total, logprobs
        self.tokens.append(choice.token)
        self._parents.append(choice.parent)
        self.cache.reorder(choice.parent)

    def _choose(
        self,
        expert_logits: Float[Tensor, "lane beam vocab"],
        amateur_rows: Float[Tensor, "contrasted beam width"],
        totals: Float[Tensor, "lane beam"],
        amateur: AmateurPart,
    ) -> tuple[Choice, Float[Tensor, "lane choice"]]:
        """The best extensions of some lanes, and the expert's log-probability of each one's token.

        `amateur_rows` are logits, or what the candidate-only head makes them of.
        """
        log_expert = ban(log_probs(expert_logits), self._banned)
        if not self._candidate_head:
            choice = best_extensions(amateur.scores(log_expert, amateur_rows), totals, self._candidates)
            return choice, log_expert.flatten(1).gather(1, choice.parent * log_expert.shape[-1] + choice.token)
        vocab, width = log_expert.shape[-1], max(CANDIDATES, self._candidates)
        log_expert, tokens = largest(log_expert, min(width, vocab))
        amateur_logits = self._expert.parts.logits_of(amateur_rows, amateur.contrasted(tokens))
        scores = amateur.scores(log_expert, amateur_logits)
        if width < vocab:  # the last candidate is plausible: there may be more
            self._crowded |= amateur.contrasted(scores[..., -1] > -torch.inf).any()
        choice = best_extensions(scores, totals, self._candidates)
        place = choice.parent * scores.shape[-1] + choice.token
        choice = choice._replace(token=tokens.flatten(1).gather(1, place))
        return choice, log_expert.flatten(1).gather(1, place)

    def crowded(self) -> bool:
        """Whether some plausible set was wider than the candidate-only head looks; asked once, at the end."""
        return self._candidate_head and bool(self._crowded)

    def settled(self) -> bool:
        """Whether every text has ended; only asked where texts may end."""
        if not len(self._ends):
            return False
        return self._endings.settled(self._totals, scores_only_fall=not self._amateurs.layers)

    def continuations(self) -> list[Continuation]:
        """Read the answers back from the device: the first time that the host waits for it, but for compaction."""
        parents, tokens = torch.stack(self._parents).cpu(), torch.stack(self.tokens).cpu()
        return [
            Continuation(
                token_ids=backtrack(parents, tokens, ending.step, lane, ending.beam),
                score=ending.score,
                logprob_expert=ending.logprob_expert,
                ended=ending.ended,
            )
            for lane, ending in enumerate(self._endings.final(self._totals, self._logprobs, len(self.tokens) - 1))
        ]


def _now(device: torch.device) -> float:
    """Seconds, once the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
