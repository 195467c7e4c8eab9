"""Contrast inside `generate` of transformers: the texts are those of `cdeval.run`, by the callable and by a folder."""

import json
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, dynamic_module_utils

from cdeval.errors import ConfigError, ModelError
from cdeval.integrations.transformers import contrastive_generate
from cdeval.store.strict_json import generation_from_json, parse_line
from tests.conftest import EVERY_RUN, build_model, build_tokenizer, each_night
from tests.lens.test_linear import TEXTS as LENS_TEXTS

Typed = Callable[..., str]
Texts = list[list[int]]
NEW = 8
PROMPTS = ["The quick brown fox", "Researchers said on Monday that the", "A small"]
# What generate is asked for where cdeval.run has search=….
DRAWN = {"do_sample": True, "temperature": 1.3, "top_p": 0.9, "top_k": 0, "num_return_sequences": 2, "seed": 3}
SEARCHES = {"beam": {"num_beams": 5, "length_penalty": 0.0}, "greedy": {}, "sample": DRAWN}


def study(architecture: str, tokenizer: PreTrainedTokenizerFast, at: Path) -> list[str]:
    """A model folder, prompts, and texts for a lens: the settings of three arms in one study."""
    build_model(architecture).save_pretrained(at / "model")
    tokenizer.save_pretrained(at / "model")
    prompts = [{"id": f"prompt-{place}", "prompt": text} for place, text in enumerate(PROMPTS)]
    (at / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    (at / "texts.jsonl").write_text("\n".join(json.dumps(text._asdict()) for text in LENS_TEXTS))
    prompts_of_file = ["prompts=file", f"prompts.path={at / 'prompts.jsonl'}"]
    exit_layer = ["amateur.layer=2", "amateur.lens=linear", f"amateur.lens_texts={at / 'texts.jsonl'}"]
    drawn = ["search.temperature=1.3", "search.top_p=0.9", "search.samples=2", "seed=3"]
    search = ["search=beam,greedy,sample", "search.ban=none", f"search.max_new_tokens={NEW}", *drawn]
    small = ["metrics.only=[diversity]", "metrics.bootstrap_draws=100", "cost.latency_repeats=0", "tracking=none"]
    own = [f"expert.name={at / 'model'}", "expert.dtype=float32", f"runs={at / 'runs'}", "controls=false"]
    return [*own, *prompts_of_file, *exit_layer, *search, *small]


def made_by_run(runs: Path) -> dict[str, tuple[Path, Texts]]:
    """By search, the run folder and its texts in order."""
    found = {}
    for file in runs.glob("embedded/*/generations.jsonl"):
        kind = yaml.safe_load((file.parent / "config.yaml").read_text())["search"]["kind"]
        texts = [generation_from_json(parse_line(line)) for line in file.read_bytes().splitlines()]
        found[kind] = file.parent, [list(one.token_ids) for one in sorted(texts, key=attrgetter("id", "sample"))]
    return found


def new_tokens(found: torch.Tensor, inputs: dict[str, torch.Tensor]) -> Texts:
    """The continuations without their end tokens and padding, which both are token 0 here."""
    rows = found[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[: row.index(0)] if 0 in row else row for row in rows]


@pytest.mark.long
@pytest.mark.parametrize("architecture", each_night(EVERY_RUN, every_run=("gpt2",)))
def test_the_callable_and_exported_folders_make_the_texts_of_a_study(
    architecture: str, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token by token in float32, by every search; the test trusts the folders that it wrote itself."""
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    typed("run", study(architecture, tokenizer, tmp_path))
    found = made_by_run(tmp_path / "runs")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32, attn_implementation="eager")
    inputs = dict(
        tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    )
    for search, given in SEARCHES.items():
        point, expected = found[search]
        assert len({tuple(row) for row in expected}) > 1, "a model that says one thing would pass whatever is done"
        assert "linear lens" in typed("export", [f"point={point}", f"out={tmp_path / 'first'}"])
        folder = (tmp_path / "first").rename(tmp_path / search)  # where it lies is nowhere written down
        own = {"tokenizer": tokenizer, "amateur": 2, "lens": folder / "lens.safetensors", "max_new_tokens": NEW}
        by_callable = model.generate(**inputs, custom_generate=contrastive_generate, **own, **given)
        assert new_tokens(by_callable, inputs) == expected
        trusted = {"custom_generate": str(folder), "trust_remote_code": True, "tokenizer": tokenizer}
        assert new_tokens(model.generate(**inputs, **trusted), inputs) == expected
    with pytest.raises(ConfigError, match=r"num_beams: this folder pins its setting\. Leave num_beams out"):
        model.generate(**inputs, num_beams=7, **trusted)
    (folder / "lens.safetensors").write_bytes(b"something else")
    with pytest.raises(ModelError, match="is not the lens that was exported"):
        model.generate(**inputs, **trusted)
