"""Write people's texts beside other texts of the same people: the MAUVE that a model can be expected to reach.

    python scripts/human_against_human.py --source wiki --texts 1000 > halves.jsonl
    python -m cdeval.score generations=halves.jsonl metrics.only=[mauve,mauve_star]

Of every document the windows are taken in pairs: what follows the one prompt is called the continuation, what follows
the other the reference. So both sides are of the same documents, as they are where a model continues them, and
intervals draw documents.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import groupby

from cdeval.config.enums import PromptSource, Split
from cdeval.config.schema import ExpertConfig, PromptsConfig
from cdeval.models.loading import open_model
from cdeval.prompts.load import load_prompts
from cdeval.records import Prompt, document_of


def pairs(prompts: Sequence[Prompt], most: int) -> list[dict[str, str | None]]:
    """What follows two windows of one document, side by side; first pairs of all documents come first."""
    found = []
    for _, windows in groupby(prompts, key=lambda prompt: document_of(prompt.id)):
        of_document = list(windows)
        for place, (one, other) in enumerate(zip(of_document[::2], of_document[1::2], strict=False)):
            row = {"id": one.id, "prompt": one.text, "continuation": one.reference, "reference": other.reference}
            found.append((place, row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])[:most]]


def main() -> None:
    """Print as many pairs as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=["wiki", "news_wiki", "speeches"], default="wiki")
    parser.add_argument("--split", choices=[split.value for split in Split], default="test")
    parser.add_argument("--texts", type=int, default=1000, help="a side")
    parser.add_argument("--tokens", type=int, default=128, help="of each text, by SmolLM2's tokenizer")
    asked = parser.parse_args()
    config = PromptsConfig(PromptSource(asked.source), limit=None, windows=None, split=Split(asked.split))
    tokenizer = open_model(ExpertConfig("embedded:smollm2")).tokenizer
    for row in pairs(load_prompts(config, tokenizer, asked.tokens, seed=0).prompts, asked.texts):
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
