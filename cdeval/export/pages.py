"""The texts of an exported folder: its code and its README."""

import pprint
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from cdeval import __version__
from cdeval.config.schema import RunConfig
from cdeval.store.private import masked_all

_CODE = Template('''"""Contrastive decoding by one pinned setting, for `generate` of transformers.

$label

Written by `python -m cdeval.export` of cdeval $version. How it is called stands in README.md.
"""

from cdeval.integrations.pinned import pinned_generate

SETTING = $setting


def generate(model, **given):
    """Continue prompts by the pinned setting; returns what `model.generate` returns."""
    return pinned_generate(model, SETTING, given)
''')

_README = Template("""---
library_name: transformers
license: apache-2.0
tags: [custom_generate]
---

# $label

Contrastive decoding by one setting, for `generate` of transformers. Written by `python -m cdeval.export` of cdeval
$version, which it needs (`pip install "cdeval==$version"`), for $expert.

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("$expert", dtype="$dtype").eval()
    tokenizer = AutoTokenizer.from_pretrained("$expert")
    inputs = tokenizer(["The river had been rising"], return_tensors="pt", padding=True, padding_side="left")
    found = model.generate(**inputs, custom_generate="$folder", trust_remote_code=True, tokenizer=tokenizer)
    print(tokenizer.batch_decode(found, skip_special_tokens=True))

`trust_remote_code=True` lets transformers run this folder's custom_generate/generate.py, which imports cdeval and holds
the setting: read it before. You may give max_new_tokens ($tokens without), attention_mask, num_return_sequences where
texts are drawn, seed, prompt_ids, pad_token_id and return_dict_in_generate; all else is pinned, and refused.
$lens
Code and lens are under the licence of cdeval ([LICENSE](LICENSE)); the model has its own.
""")
_LENS = """
lens.safetensors holds the translators through which the exit is read. They were made for this model in this number
format, and fit no other one.
"""


def code_page(label: str, setting: Mapping[str, Any]) -> str:
    """Write generate.py."""
    values = pprint.pformat(setting, width=116, sort_dicts=False)
    return _CODE.substitute(label=_plain(label), version=__version__, setting=values)


def readme_page(label: str, folder: Path, config: RunConfig, *, has_lens: bool) -> str:
    """Write README.md."""
    return _README.substitute(
        label=_plain(label),
        version=__version__,
        expert=masked_all(config.expert.name),
        dtype="auto" if config.expert.dtype.name == "auto" else config.expert.dtype.name,
        folder=masked_all(str(folder)),
        tokens=config.search.max_new_tokens,
        lens=_LENS if has_lens else "",
    )


def _plain(label: str) -> str:
    """A label inside a page of code or Markdown: on one line, and without quotes that could end a text."""
    return " ".join(label.split()).replace('"""', "'''").replace("\\", "/")
