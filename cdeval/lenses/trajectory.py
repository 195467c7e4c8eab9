"""How a prediction comes to be: what every layer would say after every token of one prompt, and the expert itself.

After nostalgebraist's logit lens (2020) and Belrose et al. (2023), figure 1: rows are layers, columns tokens.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from cdeval.errors import PromptError
from cdeval.lenses.reading import View
from cdeval.models.exits import tap
from cdeval.models.loading import LanguageModel
from cdeval.prompts.tokens import TextCodec
from cdeval.records import EXPERT, Trajectory

CANDIDATES = 6  # next tokens whose probability is followed through the layers


@torch.inference_mode()
def trajectory(expert: LanguageModel, prompt: str, views: Sequence[View]) -> Trajectory:
    """Read a prompt once and look at it through every view; the expert itself is the last row.

    Raises: PromptError: the prompt yields no tokens.
    """
    codec = TextCodec(expert.tokenizer)
    ids = codec.prompt_ids(prompt)
    if not ids:
        raise PromptError(f"prompt={prompt!r} yields no tokens: give some text.")
    with tap(expert.parts, {view.layer for view in views}) as tapped:
        inputs = torch.tensor([ids], device=expert.device)
        finished = expert.parts.base(input_ids=inputs, use_cache=False).last_hidden_state[0]
        hidden = {layer: out[0] for layer, out in tapped.items()}
    log_expert = torch.log_softmax(expert.parts.logits(finished).float(), dim=-1)
    followed = log_expert[-1].topk(CANDIDATES).indices
    rows = [torch.log_softmax(view.logits(expert, hidden[view.layer]).float(), dim=-1) for view in views]
    read = [_row(log_exit, log_expert, followed, codec) for log_exit in (*rows, log_expert)]
    return Trajectory(
        tokens=tuple(codec.token_text(token) for token in ids),
        layers=(*(view.layer for view in views), expert.parts.depth),
        lens=views[0].lens.value if views else EXPERT,
        top=tuple(row[0] for row in read),
        probability=tuple(row[1] for row in read),
        entropy=tuple(row[2] for row in read),
        kl=tuple(row[3] for row in read),
        candidates=tuple(codec.token_text(int(token)) for token in followed),
        followed=tuple(row[4] for row in read),
    )


_Row = tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...]]


def _row(
    log_exit: Float[Tensor, "position vocab"],
    log_expert: Float[Tensor, "position vocab"],
    followed: Tensor,
    codec: TextCodec,
) -> _Row:
    best = log_exit.max(dim=-1)
    entropy = -(log_exit.exp() * log_exit).sum(dim=-1)
    kl = (log_expert.exp() * (log_expert - log_exit)).sum(dim=-1)
    return (
        tuple(codec.token_text(int(token)) for token in best.indices),
        tuple(best.values.exp().tolist()),
        tuple(entropy.tolist()),
        tuple(kl.clamp_min(0).tolist()),
        tuple(log_exit[-1, followed].exp().tolist()),
    )
