"""What a large study takes, on paper: `python scripts/scaling.py`. The numbers of docs/scaling.md.

FLOPs are `cdeval.cost.flops`' for models of the published shapes, which are built without weights. A GPU's FLOP/s are
its peak times a utilisation that is assumed, not measured.
"""

import sys
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig, PretrainedConfig

from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig, SearchConfig
from cdeval.config.setting import setting_of
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.models.anatomy import dissect
from cdeval.models.loading import LanguageModel

PEAK = 989e12  # FLOP/s of an H100 SXM, dense bfloat16 (NVIDIA's data sheet)
UTILISATIONS = (0.05, 0.1, 0.2)
POINTS, PROMPTS, PROMPT_TOKENS, NEW_TOKENS, GPUS = 500, 5000, 32, 256, 64

EXPERTS: dict[str, PretrainedConfig] = {
    "gpt2-medium": GPT2Config(n_embd=1024, n_layer=24, n_head=16),
    "gpt2-large": GPT2Config(n_embd=1280, n_layer=36, n_head=20),
    "gpt2-xl": GPT2Config(n_embd=1600, n_layer=48, n_head=25),
    "opt-6.7b": OPTConfig(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, ffn_dim=16384, word_embed_proj_dim=4096
    ),
}


class Need(NamedTuple):
    """Of one expert."""

    text_flops: float
    study_flops: float

    def gpu_hours(self, utilisation: float) -> float:
        """At a share of the peak."""
        return self.study_flops / (PEAK * utilisation) / 3600


def need(config: PretrainedConfig) -> Need:
    """FLOPs of early-exit contrastive beam search, 5 beams, of one text and of the whole study."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    lm = LanguageModel("on paper", None, model, None, "", parts=dissect(model, "on paper"))
    asked = RunConfig(
        expert=ExpertConfig(name="on paper"),
        amateur=AmateurConfig(layer=config.num_hidden_layers // 2),  # any: an exit costs a row of the head
        search=SearchConfig(beams=5, max_new_tokens=NEW_TOKENS),
    )
    text = lane_flops(token_flops(lm), setting_of(asked), PROMPT_TOKENS, NEW_TOKENS).total
    return Need(text, float(text) * POINTS * PROMPTS)


def table() -> str:
    """The experts and their sum, in Markdown."""
    needs = {name: need(config) for name, config in EXPERTS.items()}
    needs["all four"] = Need(float("nan"), sum(one.study_flops for one in needs.values()))
    heads = " | ".join(f"GPU hours at {share:.0%}" for share in UTILISATIONS)
    lines = [f"| expert | TFLOP a text | FLOP | {heads} |", "|---|" + "---:|" * (2 + len(UTILISATIONS))]
    for name, one in needs.items():
        hours = " | ".join(f"{one.gpu_hours(share):.0f}" for share in UTILISATIONS)
        text = "" if one.text_flops != one.text_flops else f"{one.text_flops / 1e12:.2f}"
        lines.append(f"| {name} | {text} | {one.study_flops:.2e} | {hours} |")
    total = needs["all four"]
    hours = ", ".join(f"{total.gpu_hours(share) / GPUS:.1f} h at {share:.0%}" for share in UTILISATIONS)
    texts = len(EXPERTS) * POINTS * PROMPTS
    rates = ", ".join(f"{texts / (total.gpu_hours(share) / GPUS * 3600):.0f}" for share in UTILISATIONS)
    return "\n".join([*lines, "", f"On {GPUS} GPUs: {hours}; {texts} texts, {rates} a second.", ""])


if __name__ == "__main__":
    sys.stdout.write(table())
