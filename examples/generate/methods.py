"""Two methods of others for `search=hf`: top-nσ as a logits processor, and a DoLa-like `custom_generate`."""

import torch
from transformers import LogitsProcessor


class TopNSigma(LogitsProcessor):
    """Keep the tokens whose logits are at most n standard deviations below the largest."""

    def __init__(self, n: float = 1.0) -> None:
        self.n = n

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Set the other logits to -inf; banned tokens are at -inf already, and have no part in the deviation."""
        possible = scores > -torch.inf
        logits = scores.where(possible, torch.nan)
        mean = logits.nanmean(-1, keepdim=True)
        deviation = (logits - mean).square().nanmean(-1, keepdim=True).sqrt()
        return scores.masked_fill(scores < scores.amax(-1, keepdim=True) - self.n * deviation, -torch.inf)


def early_layer(model, input_ids, logits_processor, generation_config, layer=1, alpha=0.1, **model_kwargs):
    """Greedy search by the last layer less an early one, as DoLa with one candidate: head without the final norm."""
    length = input_ids.shape[1] + generation_config.max_new_tokens
    while input_ids.shape[1] < length:
        read = model(input_ids, output_hidden_states=True, use_cache=False)
        early = model.lm_head(read.hidden_states[layer][:, -1]).float().log_softmax(-1)
        last = logits_processor(input_ids, read.logits[:, -1].float()).log_softmax(-1)
        plausible = last >= last.amax(-1, keepdim=True) + torch.tensor(alpha).log()
        token = (last - early).where(plausible, -torch.inf).argmax(-1, keepdim=True)
        input_ids = torch.cat([input_ids, token], dim=-1)
    return input_ids
