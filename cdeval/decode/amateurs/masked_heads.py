"""The expert with some of its attention heads silenced (Gema et al. 2024, DeCoRe): what it says without looking back.

Given by `amateur.heads`, or those that retrieve best in passages that are read twice (`cdeval.models.heads`): texts of
the prompts' source that are no prompts. DeCoRe weighs this amateur by the expert's entropy, contrast.weight=entropy.
The weights are the expert's, the key-value cache is its own.
"""

import re
from dataclasses import dataclass, fields

import torch

from cdeval.config.amateur import AMATEURS, Amateur
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.decode.amateurs.model import OwnPassKind
from cdeval.errors import ConfigError, ModelError, PromptError
from cdeval.models.heads import Head, likeliest_heads, retrieval_scores, without_heads
from cdeval.models.loading import LanguageModel, OpenedModel
from cdeval.prompts.load import PromptSet, other_texts
from cdeval.prompts.tokens import TextCodec

_PASSAGES, _TOKENS = 32, 48  # that are read twice
_HEAD = re.compile(r"([1-9]\d*)\.([1-9]\d*)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedExpert(LanguageModel):
    """The expert without the output of some heads, and which these are."""

    heads: tuple[Head, ...]


class MaskedHeads(OwnPassKind):
    """The expert without the output of some heads, with a forward pass of its own."""

    name = "masked_heads"
    reads = frozenset({"context", "heads", "retrieval_heads"})

    def check(self, config: AmateurConfig, expert: ExpertConfig) -> None:
        """Check how the heads are written. Raises: ConfigError: they are no heads."""
        _heads(config)

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read which heads are silenced, or how many are to be found."""
        heads = _heads(config)
        settings = ("heads", tuple(map(str, heads))) if heads else ("retrieval_heads", config.retrieval_heads)
        return Amateur(self.name, context=config.context, negative=config.negative, settings=(settings,))

    def label(self, amateur: Amateur) -> str:
        """Name it for readers."""
        own = dict(amateur.settings)
        if "heads" not in own:
            return f"masked {own['retrieval_heads']} retrieval heads"
        few = len(own["heads"]) <= 4
        return f"masked heads {','.join(own['heads'])}" if few else f"masked {len(own['heads'])} heads"

    def needs(self, config: AmateurConfig) -> tuple[str, str] | None:
        """Name the stored weights: with random ones no head retrieves anything."""
        return None if config.heads else ("amateur=masked_heads", "heads that retrieve; give amateur.heads")

    def learns(self, config: AmateurConfig) -> bool:
        """Tell whether its heads are to be found in texts."""
        return not config.heads

    def open(self, config: RunConfig, expert: OpenedModel) -> None:
        """Check that the heads are the expert's. Raises: ModelError: one is not, or it has fewer than are wanted."""
        depth, count = expert.config.num_hidden_layers, expert.config.num_attention_heads
        has = f"{expert.name} has L={depth} blocks of {count} heads each, 1.1 to {depth}.{count}"
        for head in _heads(config.amateur):
            if head.block > depth or head.head > count:
                raise ModelError(f"amateur.heads: {head} is outside: {has}.")
        if not config.amateur.heads and config.amateur.retrieval_heads > depth * count:
            raise ModelError(f"amateur.retrieval_heads={config.amateur.retrieval_heads} are too many: {has}.")

    def load(self, opened: None, config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> MaskedExpert:
        """Silence the heads, which are found where they are not given.

        Raises: PromptError: no texts are left to find them by.
        """
        heads = _heads(config.amateur) or _found(config, expert, prompts)
        named = ",".join(map(str, heads))
        silenced = without_heads(expert, heads)
        own = {one.name: getattr(silenced, one.name) for one in fields(LanguageModel)}
        own |= {"name": f"{expert.name} without heads {named}", "fingerprint": f"{expert.fingerprint}-{named}"}
        return MaskedExpert(**own, heads=heads)


def _heads(config: AmateurConfig) -> tuple[Head, ...]:
    """Read heads as they are typed, in order; none: they are to be found. Raises: ConfigError: one is no head."""
    found = []
    for typed in config.heads or ():
        match = _HEAD.fullmatch(typed)
        if match is None:
            raise ConfigError(
                f"amateur.heads: {typed} is no head: expected block.head, both from 1, as amateur.heads=[10.3,12.1]."
            )
        found.append(Head(int(match[1]), int(match[2])))
    if len(set(found)) < len(found):
        raise ConfigError(f"amateur.heads=[{','.join(map(str, found))}]: expected each head once.")
    return tuple(sorted(found))


def _found(config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> tuple[Head, ...]:
    """The heads that retrieve best. Raises: PromptError: too few texts are left, or all are too short."""
    codec = TextCodec(expert.tokenizer)
    texts = other_texts(config.prompts, [prompt.id for prompt in prompts.prompts])[: 4 * _PASSAGES]
    passages = [ids[:_TOKENS] for ids in map(codec.continuation_ids, texts) if len(ids) >= _TOKENS][:_PASSAGES]
    if not passages:
        raise PromptError(
            f"amateur=masked_heads finds heads in passages of {_TOKENS} tokens that are no prompts; there is none: "
            "lower prompts.limit, choose another source, or give amateur.heads."
        )
    scores = retrieval_scores(expert, torch.tensor(passages), codec.leading)
    return likeliest_heads(scores, config.amateur.retrieval_heads)


AMATEURS.add(MaskedHeads())
