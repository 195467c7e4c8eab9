"""The reading of texts by the expert, and its layers' distributions at some positions, for fitting and measuring."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cdeval.config.exits import Lens
from cdeval.errors import ModelError, PromptError
from cdeval.models.exits import tap
from cdeval.models.lens import Translator, seen_through
from cdeval.models.loading import LanguageModel
from cdeval.prompts.tokens import TextCodec

# Positions whose vocabulary-wide tensors are worked on together: tens of megabytes, which allocators keep. Fewer of a
# large vocabulary, so that no such tensor has more numbers than these.
ROWS_AT_ONCE = 128
NUMBERS_AT_ONCE = ROWS_AT_ONCE << 16


class Contrast(NamedTuple):
    """The contrast whose effect is measured: `cdeval.decode.objective`'s difference, nothing banned."""

    alpha: float
    beta: float
    temperature: float  # of the amateur


class View(NamedTuple):
    """A layer through a lens."""

    layer: int
    lens: Lens
    translator: Translator | None = None
    method: str = ""  # that made the translator

    @property
    def name(self) -> str:
        """The lens in tables: translators by the method that made them."""
        return self.method or self.lens.value

    def logits(self, expert: LanguageModel, hidden: Float[Tensor, "row width"]) -> Float[Tensor, "row vocab"]:
        """Compute the logits from the outputs of its block."""
        return expert.parts.logits(seen_through(self.lens, expert.parts, hidden, self.translator))


class Passage(NamedTuple):
    """Some positions of a text as the expert left them."""

    hidden: Mapping[int, Float[Tensor, "row width"]]  # by layer
    finished: Float[Tensor, "row head_width"]  # what the head reads of the expert itself
    targets: Int[Tensor, " row"]  # the tokens that follow

    def part(self, rows: slice) -> "Passage":
        """Select some of the positions."""
        hidden = {layer: out[rows] for layer, out in self.hidden.items()}
        return Passage(hidden, self.finished[rows], self.targets[rows])


def chunks(expert: LanguageModel, rows: int) -> list[slice]:
    """Slices of so many positions, each of as many as have the vocabulary's logits in memory at a time."""
    size = max(1, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // expert.parts.head_weight.shape[0]))
    return [slice(start, start + size) for start in range(0, rows, size)]


def divergence(log_p: Float[Tensor, "row vocab"], log_q: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    """KL(p || q) [nats]; an impossible token adds nothing, where 0 · inf would be NaN."""
    return (log_p.exp() * (log_p - log_q)).masked_fill_(log_p == -math.inf, 0.0).sum(dim=-1)


def entropy(log_p: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    """Compute the entropy of each distribution [nats]; an impossible token adds nothing."""
    return -(log_p.exp() * log_p).masked_fill_(log_p == -math.inf, 0.0).sum(dim=-1)


def windows(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, tokens: int) -> Int[Tensor, "window position"]:
    """Join all texts and cut them into windows of equal length.

    Raises: PromptError: together they do not fill one.
    """
    found = stream(texts, tokenizer)
    if len(found) < tokens:
        raise PromptError(
            f"the {len(texts)} training texts have {len(found)} tokens together, fewer than one window "
            f"(fit.window_tokens={tokens}): lower it, raise prompts.limit, or choose other prompts."
        )
    return cut(found, tokens)


def stream(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of all texts one after the other.

    EOS stands between two texts, once where it is the BOS of the next one, too (OPT).
    """
    codec = TextCodec(tokenizer)
    end = tokenizer.eos_token_id
    between = [] if end is None or codec.leading[:1] == (end,) else [end]
    return [token for text in texts for token in (*codec.prompt_ids(text), *between)]


def cut(tokens: Sequence[int], size: int) -> Int[Tensor, "window position"]:
    """Windows of equal length; a rest that fills none is left out."""
    count = len(tokens) // size
    return torch.tensor(tokens[: count * size]).view(count, size)


@torch.inference_mode()
def passages(
    expert: LanguageModel, texts: Sequence[Sequence[int]], layers: Collection[int], per_text: int, seed: int
) -> Iterator[Passage]:
    """Read each text on its own, and keep at most `per_text` of its positions, drawn at random and in their order.

    Texts of fewer than two tokens, which predict nothing, are left out.
    """
    draw = torch.Generator().manual_seed(seed)
    for text in texts:
        if len(text) < 2:
            continue
        ids = torch.tensor([list(text)], device=expert.device)
        with tap(expert.parts, layers) as tapped:
            finished = expert.parts.base(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[0]
            places = torch.randperm(len(text) - 1, generator=draw)[:per_text].sort().values.to(expert.device)
            hidden = {layer: out[0, places] for layer, out in tapped.items()}
        yield Passage(hidden, finished[places], ids[0, 1:][places])


def require_finite(expert: LanguageModel, numbers: Iterable[float], what: str) -> None:
    """Refuse NaN and infinity: means over positions, fits and ranks would be of nothing.

    Raises: ModelError: one of the numbers is none.
    """
    if not all(map(math.isfinite, numbers)):
        raise ModelError(
            f"{expert.name} in {expert.dtype_name}: {what} is NaN or infinite. Numbers too large for a format come out "
            "so: try expert.dtype=float32 or bfloat16, or look for NaN in the weights or in the lens."
        )
