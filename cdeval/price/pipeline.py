"""The costs of contrast on paper: architectures at their true shapes, without weights and whatever their size.

    pair -> shapes on the meta device -> formula and torch's own count -> one row an arm

Nothing here is measured. FLOPs and bytes are of one continuation; the bound is what its bytes or its FLOPs alone take
on a device, whichever is more.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Normalizer, SearchKind, TemperatureForm, Weights
from cdeval.config.exits import Lens
from cdeval.config.schema import ExpertConfig
from cdeval.config.setting import Setting
from cdeval.cost.counted import count_lane
from cdeval.cost.drafting import drafting
from cdeval.cost.flops import LaneFlops, lane_flops, token_flops
from cdeval.cost.memory import slot_bytes
from cdeval.cost.traffic import LaneBytes, lane_bytes, token_bytes
from cdeval.models.loading import LanguageModel, open_model
from cdeval.models.truncate import truncate
from cdeval.models.vocabulary import check_same_size
from cdeval.price.config import PriceRun
from cdeval.price.drafting import read_accepted
from cdeval.records import Drafting, Price
from cdeval.store.folder import replace_file
from cdeval.store.progress import Steps
from cdeval.store.strict_json import to_page


class Priced(NamedTuple):
    """The result of the command, as it is shown."""

    prices: list[Price]
    file: Path
    drafting: Mapping[str, Sequence[Drafting]] = MappingProxyType({})  # by pair
    drafting_file: Path | None = None


def run_prices(config: PriceRun, say: Callable[[str], None]) -> Priced:
    """Price all pairs and write the file, and that of drafting if it is asked for.

    Raises: ConfigError: what `cdeval.lens` measured cannot be read. ModelError: an architecture is not known here, or
        two vocabularies differ in size. StorageError: the disk refuses.
    """
    measured = None if config.drafting is None else read_accepted(Path(config.drafting))
    prices: list[Price] = []
    drafts: dict[str, list[Drafting]] = {}
    with Steps(say, "counted pair", len(config.pairs)) as steps:
        for pair in config.pairs:
            say(f"counting {pair}")
            expert, *small = (_on_paper(name.strip(), config) for name in pair.split("+"))
            prices += _pair(pair, expert, small, config)
            if measured is not None:
                context = config.prompt_tokens + config.new_tokens
                drafts[pair] = drafting(token_bytes(expert), measured.exits, measured.depth, context)
            steps.advance()
    file = Path(config.out or Path(config.runs) / "price.json")
    replace_file(file, to_page(prices))
    if measured is None:
        return Priced(prices, file)
    beside = file.with_name(f"{file.stem}-drafting.json")
    replace_file(beside, to_page(drafts))
    return Priced(prices, file, drafts, beside)


def _pair(pair: str, expert: LanguageModel, small: Sequence[LanguageModel], config: PriceRun) -> list[Price]:
    blocks = max(1, round(config.truncated * expert.parts.depth))
    alone = _setting(config)
    arms: dict[str, tuple[Setting, LanguageModel | None]] = {"expert alone": (alone, None)}
    for amateur in small:
        check_same_size(expert.model.config, amateur.model.config, expert.name, amateur.name)
        own = Amateur("model", name=amateur.name)
        arms[f"small amateur {amateur.name}"] = (replace(alone, amateur=own), amateur)
    early = replace(alone, amateur=Amateur("early_exit", layer=max(1, expert.parts.depth - 2)))
    arms["early exit"] = (early, None)
    arms["early exit, linear lens"] = (replace(early, amateur=replace(early.amateur, lens=Lens.linear)), None)
    arms["early exit, head of the candidates"] = (replace(early, normalizer=Normalizer.candidates), None)
    cut = replace(alone, amateur=Amateur("truncated", layer=blocks))
    arms[f"truncated k={blocks}"] = (cut, truncate(expert, blocks))
    whole = _Lane.from_setting(expert, alone, None, config)
    return [
        _price(pair, label, _Lane.from_setting(expert, how, amateur_model, config), whole, config)
        for label, (how, amateur_model) in arms.items()
    ]


class _Lane(NamedTuple):
    """One continuation of one arm."""

    flops: LaneFlops
    counted: LaneFlops
    moved: LaneBytes
    parameters: int
    cache: int  # bytes of the keys and values of one text at its end

    @classmethod
    def from_setting(
        cls, expert: LanguageModel, how: Setting, amateur_model: LanguageModel | None, config: PriceRun
    ) -> "_Lane":
        prompt, new = config.prompt_tokens, config.new_tokens
        models = [expert] if amateur_model is None else [expert, amateur_model]
        distinct = [expert] if amateur_model is None or amateur_model.model is expert.model else models
        width = int(expert.model.config.hidden_size)
        lens = width * (width + 1) * len(how.amateur.exits) if how.amateur.lens.translates else 0
        return cls(
            lane_flops(token_flops(expert), how, prompt, new, token_flops(amateur_model) if amateur_model else None),
            count_lane(expert, how, prompt, new, amateur_model),
            lane_bytes(token_bytes(expert), how, prompt, new, token_bytes(amateur_model) if amateur_model else None),
            sum(model.model.num_parameters() for model in distinct) + lens,
            sum(slot_bytes(model) for model in models) * (prompt + new),
        )


def _price(pair: str, label: str, lane: _Lane, alone: _Lane, config: PriceRun) -> Price:
    moved = lane.moved.per_token
    return Price(
        pair=pair,
        arm=label,
        flops_per_token=lane.flops.per_token,
        flops_overhead=lane.flops.overhead,
        counted_overhead=lane.counted.overhead,
        counted_difference=lane.flops.total / lane.counted.total - 1,
        bytes_per_token=moved,
        bytes_overhead=moved / alone.moved.per_token - 1,
        parameters=lane.parameters,
        parameters_overhead=lane.parameters / alone.parameters - 1,
        cache_bytes=lane.cache,
        cache_overhead=lane.cache / alone.cache - 1,
        bound_seconds_per_token=max(moved / config.bandwidth, lane.flops.per_token / config.peak_flops),
    )


def _on_paper(name: str, config: PriceRun) -> LanguageModel:
    opened = open_model(ExpertConfig(name=name, dtype=config.dtype, device="cpu", weights=Weights.random))
    return replace(opened, on_paper=True).load()


def _setting(config: PriceRun) -> Setting:
    """The expert alone; alpha, beta and temperature cost nothing."""
    return Setting(
        amateur=Amateur(),
        alpha=0.1,
        beta=1.0,
        temperature=1.0,
        temperature_form=TemperatureForm.softmax,
        normalizer=Normalizer.full,
        search=SearchKind.greedy if config.beams == 1 else SearchKind.beam,
        beams=config.beams,
        max_new_tokens=config.new_tokens,
        ban=Ban.special,
    )


def worst_difference(prices: list[Price]) -> float:
    """The largest difference between formula and count, as a ratio; 0 of no prices."""
    return max((math.fabs(price.counted_difference) for price in prices), default=0.0)
