"""The arms by name: which peer, which search, which number format, how many prompts and settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import count, product

from cdeval.bench.config import BenchRun, as_run
from cdeval.bench.ctranslate import ctranslate2
from cdeval.bench.limits import Limits, Work
from cdeval.bench.models import Models
from cdeval.bench.peers import Ways, hugging_face, naive, ours
from cdeval.bench.plan import BenchArm, Run
from cdeval.config.enums import Compile, Dtype, Normalizer, SearchKind
from cdeval.config.setting import Setting, expert_alone, setting_of
from cdeval.cost.capacity import lanes_at_once
from cdeval.models.vocabulary import banned_tokens

BF16, F32 = Dtype.bfloat16, Dtype.float32
_SHORT = {BF16: "bf16", F32: "f32"}

OURS, HUGGING_FACE, CTRANSLATE2, NAIVE = "ours", "Hugging Face", "CTranslate2", "the seed's way"

# The grid that fused settings are taken from, beside the one that is configured; published values lie among them.
_ALPHAS = (0.05, 0.1, 0.2, 0.3)
_TEMPERATURES = (0.5, 1.0, 1.5, 2.0)


class BenchSearch(Enum):
    """The search of an arm."""

    plain = "plain"  # beam search of the expert alone
    contrast = "contrast"  # early-exit contrastive beam search
    candidates = "contrast over candidates"  # the same with the candidate-only head: an approximation under beam search
    greedy = "greedy"  # of the expert alone
    small = "contrast with a small model"  # which has a forward pass of its own
    greedy_contrast = "greedy contrast"
    greedy_small = "greedy contrast with a small model"
    greedy_candidates = "greedy contrast over candidates"  # the same texts

    @property
    def contrasts(self) -> bool:
        """Whether there is an amateur."""
        return self not in (BenchSearch.plain, BenchSearch.greedy)

    @property
    def one_beam(self) -> bool:
        """Whether it is greedy."""
        return self.value.startswith("greedy")

    @property
    def has_small_model(self) -> bool:
        """Whether the amateur is a model of its own."""
        return self in (BenchSearch.small, BenchSearch.greedy_small)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of what an arm decodes."""

    prompts: int = 1
    settings: int = 1
    new_tokens: int | None = None  # None: bench.new_tokens
    at_once: int | None = None  # lanes (ours) or prompts (Hugging Face) in one forward pass; None: all

    def __str__(self) -> str:
        """Write the size as a label shows it."""
        parts = [(self.prompts, "prompts"), (self.settings, "settings"), (self.new_tokens or 1, "tokens")]
        return "".join(f", {number} {what}" for number, what in parts if number > 1)


ONE = Size()


def label(who: str, search: BenchSearch, dtype: Dtype, size: Size = ONE) -> str:
    """Make the name of an arm in tables, files and goals."""
    return f"{who} {search.value} {_SHORT[dtype]}{size}"


def settings_grid(first: Setting, number: int) -> list[Setting]:
    """`number` different settings: `first`, then others of plausibility and temperature.

    The grid has 16 of them; beyond, the contrast's weight shrinks too, so that no two lanes are alike.
    """
    found = [first]
    grid = (
        (alpha, temperature, shrink) for shrink in count() for alpha, temperature in product(_ALPHAS, _TEMPERATURES)
    )
    while len(found) < number:
        alpha, temperature, shrink = next(grid)
        candidate = replace(first, alpha=alpha, temperature=temperature, beta=first.beta * 0.9**shrink)
        if candidate not in found:
            found.append(candidate)
    return found


class Arms:
    """Makes arms that share models and prompts. An arm's twin is the engine's arm of the same search and size."""

    def __init__(
        self, config: BenchRun, models: Models, prompts: Sequence[tuple[int, ...]], limits: Limits | None = None
    ) -> None:
        """Args: limits: of this machine; None: nobody asks how near the arms come."""
        self.config, self.models, self._prompts, self._limits = config, models, prompts, limits
        self._contrast = setting_of(as_run(config))

    def setting(self, search: BenchSearch) -> Setting:
        """The configured setting under that search."""
        setting = self._contrast if search.contrasts else expert_alone(self._contrast)
        if search in (BenchSearch.candidates, BenchSearch.greedy_candidates):
            setting = replace(setting, normalizer=Normalizer.candidates)
        if search.has_small_model:
            setting = replace(setting, amateur=self.models.small_amateur)
        if search.one_beam:
            return replace(setting, search=SearchKind.greedy, beams=1)
        return setting

    def lanes_at_once(self, dtype: Dtype) -> int:
        """Count the lanes that the engine decodes together where nothing else is said."""
        bench = self.config.bench
        tokens = max(map(len, self._prompts)) + bench.new_tokens
        return lanes_at_once(self.config.execution, self.models.expert(dtype), bench.beams, tokens)

    def ours(
        self,
        search: BenchSearch,
        dtype: Dtype,
        size: Size = ONE,
        compact_every: int | None = None,
        compiling: Compile | None = None,
    ) -> BenchArm:
        """The engine, prompts and settings together in its forward passes; where nothing is said, as configured."""
        lanes = size.prompts * size.settings
        at_once = size.at_once or lanes
        settings = settings_grid(self.setting(search), size.settings)
        execution, prompts = self.config.execution, self._prompts[: size.prompts]
        every = execution.compact_every if compact_every is None else compact_every
        small = {self.models.small_amateur: self.models.small(dtype)} if search.has_small_model else {}
        how = compiling or execution.compile
        run = ours(self.models.expert(dtype), prompts, settings, at_once, every, small, compiling=how)
        arm = self._arm(OURS, search, dtype, size, run, batches=-(-lanes // at_once))
        arm = replace(arm, label=f"{arm.label}, compiled") if how is Compile.always else arm
        return arm if compact_every is None else replace(arm, label=f"{arm.label}, compacted every {every}")

    def hugging_face(self, search: BenchSearch, dtype: Dtype, size: Size = ONE, ways: Ways | None = None) -> BenchArm:
        """`generate`, settings one after the other; a contrast comes from a separate amateur in a LogitsProcessor."""
        at_once = size.at_once or size.prompts
        settings = settings_grid(self.setting(search), size.settings)
        amateur = self.models.peers_small(dtype) if search.has_small_model else None
        if search is BenchSearch.contrast:
            amateur = self.models.amateur(dtype)
        run = hugging_face(
            self.models.peers_expert(dtype),
            self._prompts[: size.prompts],
            settings,
            at_once,
            amateur,
            ways or Ways(helped=self.config.bench.help_peers),
        )
        return self._arm(HUGGING_FACE, search, dtype, size, run, batches=size.settings * -(-size.prompts // at_once))

    def naive(self, dtype: Dtype, size: Size) -> BenchArm:
        """The seed experiment's way, prompts one after the other."""
        run = naive(self.models.peers_expert(dtype), self._prompts[: size.prompts], self.setting(BenchSearch.contrast))
        return self._arm(NAIVE, BenchSearch.contrast, dtype, size, run, batches=size.prompts)

    def ctranslate2(self, size: Size = ONE) -> list[BenchArm]:
        """Make arms of CTranslate2's plain beam search on all prompts at once, in float32 and int8, if it is there."""
        converted = self.models.converted()
        if converted is None:
            return []
        setting, expert = self.setting(BenchSearch.plain), self.models.expert(F32)
        banned = banned_tokens(setting.ban, expert.model, expert.tokenizer)
        prompts = self._prompts[: size.prompts]
        exact, quantised = (
            ctranslate2(self.models.ctranslate2(kind), converted.names, prompts, setting, banned)
            for kind in ("float32", "int8")
        )
        arm = self._arm(CTRANSLATE2, BenchSearch.plain, F32, size, exact)
        return [arm, replace(arm, label=arm.label.replace("f32", "int8"), run=quantised, least=math.nan)]

    def _arm(self, who: str, search: BenchSearch, dtype: Dtype, size: Size, run: Run, *, batches: int = 1) -> BenchArm:
        texts, new_tokens = size.prompts * size.settings, size.new_tokens or self.config.bench.new_tokens
        work = Work(texts, batches, len(self._prompts[0]), new_tokens)
        return BenchArm(
            label=label(who, search, dtype, size),
            run=run,
            texts=texts,
            new_tokens=new_tokens,
            batches=batches,
            least=self._least(search, dtype, work),
            twin=None if who == OURS else label(OURS, search, dtype, size),
            series=label(who, search, dtype),
        )

    def _least(self, search: BenchSearch, dtype: Dtype, work: Work) -> float:
        """The least seconds of some work on this machine; NaN where nobody asks."""
        if self._limits is None:
            return math.nan
        small = self.models.small(dtype) if search.has_small_model else None
        return self._limits.least(self.models.expert(dtype), self.setting(search), work, small)
