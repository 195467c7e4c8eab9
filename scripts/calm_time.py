"""What an early exit of the expert saves in time, at true shapes and without weights.

    python scripts/calm_time.py --expert gpt2-xl --layers 24 36 46 --prompts 1 16

Random weights say nothing about where a token may exit, so that every token exits after the given block (saturation's
threshold 0): the most that an exit there can save. Arms are timed in turn on the same random prompts, after an untimed
pass of each; what is printed are medians and extremes of the seconds a token.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import torch

from cdeval.config.enums import Dtype, SearchKind, Weights
from cdeval.config.exits import ConfidenceMeasure
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig, SearchConfig
from cdeval.config.setting import AdaptiveExit, Setting, setting_of
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel, open_model

AT_ONCE = 1e9  # decay: the threshold has fallen to 0 by the second token


def settings(layers: Sequence[int], tokens: int) -> dict[str, Setting]:
    """All blocks, and an exit after each of the layers."""
    search = SearchConfig(kind=SearchKind.greedy, beams=1, max_new_tokens=tokens)
    whole = setting_of(RunConfig(expert=ExpertConfig("the expert"), amateur=AmateurConfig(kind="none"), search=search))
    exits = {
        f"exit after {layer}": replace(
            whole, adaptive_exit=AdaptiveExit(ConfidenceMeasure.saturation, 0.0, AT_ONCE, (layer,))
        )
        for layer in layers
    }
    return {"all blocks": whole, **exits}


def time_in_turn(
    expert: LanguageModel, arms: dict[str, Setting], prompts: int, prompt_tokens: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds a token of every pass of each arm, prompts decoded together."""
    draw = torch.Generator().manual_seed(0)
    vocabulary = expert.parts.head_weight.shape[0]
    texts = [tuple(torch.randint(5, vocabulary, (prompt_tokens,), generator=draw).tolist()) for _ in range(prompts)]
    found: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(repeats + 1):
        for name, setting in arms.items():
            lanes = [Lane(text, setting, f"p{place}") for place, text in enumerate(texts)]
            _, stats = decode_batch(expert, lanes, 8)
            later = stats.step_seconds[1:]
            if turn:
                found[name].append(sum(later) / len(later) / prompts)
    return found


def main() -> None:
    """Time, and print a line an arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expert", default="gpt2-xl", help="a name of conf/architecture/")
    parser.add_argument("--dtype", default="float32", choices=[one.value for one in Dtype])
    parser.add_argument("--layers", type=int, nargs="+", default=[24, 36, 46])
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    config = ExpertConfig(name=asked.expert, dtype=Dtype(asked.dtype), weights=Weights.random)
    expert = open_model(config).load()
    for prompts in asked.prompts:
        found = time_in_turn(
            expert, settings(asked.layers, asked.new_tokens), prompts, asked.prompt_tokens, asked.repeats
        )
        whole = median(found["all blocks"])
        for name, seconds in found.items():
            low, middle, high = (1e3 * value for value in (min(seconds), median(seconds), max(seconds)))
            saved = 1 - median(seconds) / whole
            spread = f"{middle:.1f} ms a token ({low:.1f} to {high:.1f})"
            sys.stdout.write(f"{prompts} prompts, {name}: {spread}, {saved:+.0%} saved\n")


if __name__ == "__main__":
    main()
