"""Models without their weights: true architectures on the meta device, or filled with random numbers.

What decoding costs does not depend on the values of weights as long as lengths are fixed, so an architecture whose
weights cannot be had can be priced and timed all the same. Its texts mean nothing. The configurations of the field's
usual experts and amateurs ship in `conf/architecture/`, as published on the hub.
"""

import copy
import json
import random
from pathlib import Path

import psutil
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.initialization import no_init_weights

from cdeval.config.paths import CONF
from cdeval.errors import ModelError
from cdeval.models.attention import attention_for
from cdeval.models.vocabulary import token_names
from cdeval.records import Prompt

_POOL = (1 << 22) - 3  # numbers; a size that no matrix is a multiple of, so that no two rows are alike
_SPREAD = 0.02  # standard deviation of the weights, as the architectures are initialised


def shipped(name: str) -> PretrainedConfig | None:
    """The architecture of a hub id, such as `facebook/opt-13b`, if it is among those of `conf/architecture/`."""
    path = CONF / "architecture" / f"{Path(name).name.lower()}.json"
    if not path.is_file():
        return None
    fields = json.loads(path.read_text("utf-8"))
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def numbers_tokenizer(config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """A tokenizer whose token 17 is the text "17": random weights speak no language."""
    words = {str(token): token for token in range(config.vocab_size)}
    end = config.eos_token_id
    ends = end[0] if isinstance(end, list) else end
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="0")),  # noqa: S106 - a token of text, not a password
        eos_token=None if ends is None else str(ends),
    )


def random_prompts(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, wanted: int, tokens: int, seed: int
) -> tuple[Prompt, ...]:
    """Draw prompts of equal length from the tokens that a model reads: random weights know no language."""
    draw = random.Random(seed)
    known = [token for token in sorted(token_names(tokenizer)) if token < config.vocab_size]
    return tuple(
        Prompt(f"random-{place}", "", tuple(draw.choices(known, k=tokens)), None, None) for place in range(wanted)
    )


def without_weights(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The model on torch's meta device: shapes and operators, no numbers and no memory; all products are countable."""
    own = copy.deepcopy(config)  # Hugging Face writes dtype and attention into what it is given: a loaded model's, too
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(own, dtype=dtype, attn_implementation="eager")
    return model.eval().requires_grad_(requires_grad=False)


def with_random_weights(
    config: PretrainedConfig, dtype: torch.dtype, device: torch.device, name: str, seed: int = 0
) -> PreTrainedModel:
    """The model with normally distributed weights, the same for the same seed.

    Raises: ModelError: there is not enough memory for them.
    """
    needed = dtype.itemsize * parameters(config)
    free = _free_bytes(device)
    if needed > free:
        raise ModelError(
            f"{name} with random weights needs {needed / 1e9:.1f} GB in {str(dtype).removeprefix('torch.')}, and "
            f"{free / 1e9:.1f} GB are free: choose a smaller expert, or price it on paper by python -m cdeval.price."
        )
    own = copy.deepcopy(config)
    with device, no_init_weights():
        model = AutoModelForCausalLM.from_config(own, dtype=dtype, attn_implementation=attention_for(config))
    model.tie_weights()
    _fill(model, seed)
    return model.eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def _fill(model: PreTrainedModel, seed: int) -> None:
    """Matrices from one pool of normal numbers, over and over: drawing each number would take minutes.

    Norms are as a new model has them: weights near 0 would make numbers so small that processors slow down.
    """
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(seed)).mul_(_SPREAD).to(model.dtype)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.dim() > 1:
                flat = weight.data.view(-1)
                for start in range(0, flat.numel(), _POOL):
                    part = flat[start : start + _POOL]
                    part.copy_(pool[: part.numel()])
            else:
                norm = "norm" in type(module).__name__.lower() and name == "weight"
                weight.data.fill_(1.0 if norm else 0.0)


def parameters(config: PretrainedConfig) -> int:
    """Count the weights of a model of this configuration; tied ones count once."""
    return int(without_weights(config, torch.float32).num_parameters())


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
