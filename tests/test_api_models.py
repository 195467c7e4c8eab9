"""Models that a user has in memory: every family, whatever its attention, left as it was; and what is no such model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from cdeval.api import Contrast, Search, SearchKind, decode, layers, load, score, trace
from cdeval.config.enums import Ban
from cdeval.errors import CdevalError, ConfigError, ModelError
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation, Prompt
from tests.conftest import build_model, build_tokenizer, each_night

TEXTS = ["The quick brown fox", "Researchers said on Monday that"]
BEAM = Search(max_new_tokens=6, beams=4)
SEARCHES = {
    "beam": BEAM,
    "greedy": Search(SearchKind.greedy, beams=1, max_new_tokens=6),
    "sample": Search(SearchKind.sample, beams=1, max_new_tokens=6, samples=2),
    "contrastive search": Search(SearchKind.contrastive_search, beams=3, max_new_tokens=6),
}


def attending(architecture: str, attention: str, seed: int = 0) -> PreTrainedModel:
    """As a user's model: with an attention of transformers' own, and sub-modules that share its configuration."""
    model = build_model(architecture, seed)
    model.config._attn_implementation = attention
    return model.requires_grad_(requires_grad=True)


def facts(model: PreTrainedModel) -> dict[str, Any]:
    """All that decoding could leave changed."""
    modules = list(model.modules())
    return {
        "config": model.config.to_dict() | {"attention": model.config._attn_implementation},
        "generation": model.generation_config.to_dict(),
        "training": [module.training for module in modules],
        "hooks": [(len(one._forward_hooks), len(one._forward_pre_hooks)) for one in modules],
        "own attributes": [sorted(vars(one)) for one in modules],
        "gradients": [weight.requires_grad for weight in model.parameters()],
        "weights": {name: weight.detach().clone() for name, weight in model.named_parameters()},
        "buffers": {name: buffer.clone() for name, buffer in model.named_buffers()},
    }


def assert_as_before(model: PreTrainedModel, before: dict[str, Any]) -> None:
    now = facts(model)
    for kind in ("weights", "buffers"):
        assert now[kind].keys() == before[kind].keys()
        assert all(torch.equal(now[kind][name], value) for name, value in before[kind].items())
    assert {name: now[name] for name in now if name not in ("weights", "buffers")} == {
        name: before[name] for name in before if name not in ("weights", "buffers")
    }


@pytest.mark.parametrize("architecture", each_night())
def test_every_family_writes_what_it_writes_from_its_folder(
    architecture: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Grouped-query models crashed here with several beams: the mask was made for an attention that was not set."""
    stored = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        build_model(architecture, seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        stored.append(load(folder, dtype="float32"))

    def texts(expert: LanguageModel, amateur: LanguageModel) -> dict[str, list[Generation]]:
        arms = {name: decode(expert, TEXTS, search=search) for name, search in SEARCHES.items()}
        for name, weak in {"exit": 2, "model": amateur}.items():
            arms[name] = decode(
                expert, TEXTS, amateur=weak, lens="norm", contrast=Contrast(temperature=0.5), search=BEAM
            )
        return arms

    expected = texts(*stored)
    for attention in ("sdpa", "eager"):
        model, other = (attending(architecture, attention, seed) for seed in (0, 1))
        before = facts(model)
        found = texts(load(model, tokenizer), load(other, tokenizer))
        for name, generations in found.items():
            assert [one.token_ids for one in generations] == [one.token_ids for one in expected[name]]
        assert found["model"][0].score != pytest.approx(found["beam"][0].score, abs=1e-3), "nothing was subtracted"
        assert_as_before(model, before)
        assert other.config._attn_implementation == attention


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_an_exception_leaves_the_model_as_it_was(attention: str, tokenizer: PreTrainedTokenizerFast) -> None:
    model = attending("llama", attention)
    expert, before = load(model, tokenizer), facts(model)

    def stop(tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(expert, TEXTS, amateur=2, lens="norm", search=BEAM, on_step=stop)
    assert_as_before(model, before)
    logits = model(torch.tensor([[3, 4, 5]])).logits
    logits.sum().backward()  # it can still be trained
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_users_own_hooks_and_options_are_kept(tokenizer: PreTrainedTokenizerFast) -> None:
    model = attending("qwen2", "eager")
    plain = decode(load(model, tokenizer), TEXTS, search=BEAM)
    seen: list[int] = []
    model.model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    for option in ("output_hidden_states", "output_attentions"):
        setattr(model.config, option, True)
    model.config.use_cache = model.config.return_dict = False
    before = facts(model)
    assert decode(load(model, tokenizer), TEXTS, search=BEAM) == plain
    assert seen
    assert_as_before(model, before)


def test_traces_and_layers_and_scores_of_a_model_in_memory(tokenizer: PreTrainedTokenizerFast) -> None:
    expert = load(attending("mistral", "sdpa"), tokenizer)
    (text,) = decode(expert, TEXTS[:1], amateur=2, lens="norm", search=BEAM)
    assert trace(expert, TEXTS[0], amateur=2, lens="norm", search=BEAM).continuation == text.continuation
    assert layers(expert, TEXTS[0]).layers == (1, 2, 3, 4)
    scored = score({"arm": [text]}, expert, metrics=["perplexity_expert"])
    assert scored.scores["arm"]["perplexity_expert"].value > 1


def test_objects_tell_models_apart_and_not_their_names(tokenizer: PreTrainedTokenizerFast) -> None:
    """Models that were never in a folder are called by their class."""
    one, two = (load(build_model("llama", seed), tokenizer) for seed in (0, 1))
    assert one.name == two.name == "LlamaForCausalLM"
    contrasted = decode(one, TEXTS, amateur=two, search=BEAM)
    assert [text.token_ids for text in contrasted] != [text.token_ids for text in decode(one, TEXTS, search=BEAM)]
    again = load(one.model, tokenizer)
    for itself in (one, again):
        with pytest.raises(ConfigError, match="is the expert itself"):
            decode(one, TEXTS, amateur=itself, search=BEAM)


def broken_models() -> dict[str, tuple[Callable[[], PreTrainedModel], str]]:
    def tiny(kind: str, config: str, **sizes: object) -> PreTrainedModel:
        return getattr(transformers, kind)(getattr(transformers, config)(**sizes)).eval()

    llama = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    llama |= {"num_attention_heads": 4}
    gpt2 = {"vocab_size": 128, "n_embd": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0}
    t5 = {"vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    bart = {"vocab_size": 128, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1}
    bart |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    head = "no language modelling head"
    return {
        "llama base": (lambda: tiny("LlamaModel", "LlamaConfig", **llama), head),
        "gpt2 base": (lambda: tiny("GPT2Model", "GPT2Config", **gpt2), head),
        "llama classes": (lambda: tiny("LlamaForSequenceClassification", "LlamaConfig", **llama), head),
        "gpt2 classes": (lambda: tiny("GPT2ForSequenceClassification", "GPT2Config", **gpt2), head),
        "llama tokens": (lambda: tiny("LlamaForTokenClassification", "LlamaConfig", **llama), head),
        "t5": (lambda: tiny("T5ForConditionalGeneration", "T5Config", **t5), "encoder-decoder"),
        "bart": (lambda: tiny("BartForConditionalGeneration", "BartConfig", **bart), "encoder-decoder"),
        "small vocabulary": (lambda: build_model("llama", vocab_size=100), r"larger than the model's vocabulary.*100"),
        "meta": (lambda: build_model("llama").to("meta"), "weights on meta"),
        "training inside": (lambda: _inside(build_model("llama")), r"training mode \(model.layers.1"),
        "bidirectional": (lambda: build_model("gemma3_text", use_bidirectional_attention=True), "both directions"),
        "not causal": (lambda: build_model("llama", is_causal=False), "both directions"),
    }


def _inside(model: PreTrainedModel) -> PreTrainedModel:
    model.model.layers[1].train()
    return model


@pytest.mark.parametrize("kind", broken_models())
def test_what_is_no_causal_language_model_is_refused_in_a_sentence(
    kind: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    build, message = broken_models()[kind]
    with pytest.raises(ModelError, match=message):
        load(build(), tokenizer)


def test_a_tokenizer_larger_than_the_vocabulary(tmp_path: Path) -> None:
    """Also in a folder; but a special token that nothing can generate is let be until a prompt holds it."""
    more = build_tokenizer()
    more.add_tokens(["<one>", "<two>", "<three>"])
    model = build_model("llama")
    with pytest.raises(ModelError, match=r"1 of its tokens, first 128 \('<three>'\)"):
        load(model, more)
    model.save_pretrained(tmp_path)
    more.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="larger than the model's vocabulary"):
        load(str(tmp_path))
    special = build_tokenizer()
    special.add_special_tokens({"additional_special_tokens": ["<one>", "<two>", "<image>"]})
    expert = load(model, special)
    assert decode(expert, TEXTS, search=BEAM)
    with pytest.raises(ModelError, match=r"Prompt 'prompt-0' holds token 128 \('<image>'\)"):
        decode(expert, ["The quick <image>"], search=BEAM)
    with pytest.raises(ModelError, match="holds token -1"):
        decode(expert, [Prompt("a", "x", (3, -1), None, None)], search=BEAM)


def test_users_mistakes_are_said_and_never_a_traceback(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = build_model("llama")
    expert = load(model, tokenizer)
    text = decode(expert, TEXTS[:1], search=BEAM)
    wrapped = torch.nn.Sequential(model)
    anything: Any = None  # what a type checker would find, a notebook does not
    cases: list[tuple[str, Callable[[], object]]] = [
        ("expected a hub id, a folder or a causal", lambda: load(anything)),
        ("got Sequential", lambda: load(wrapped, tokenizer)),  # type: ignore[arg-type]
        ("needs the model's tokenizer", lambda: load(model, "gpt2")),  # type: ignore[arg-type]
        ("a loaded model stays as it is", lambda: load(model, tokenizer, dtype="bfloat16")),
        ("a loaded model stays as it is", lambda: load(model, tokenizer, device="cuda")),
        ("a loaded model stays as it is", lambda: load(model, tokenizer, revision="main")),
        ("leave tokenizer out", lambda: load("gpt2", tokenizer)),
        (r"load\(expert, tokenizer\)", lambda: decode(model, TEXTS)),  # type: ignore[arg-type]
        ("amateur: expected what", lambda: decode(expert, TEXTS, amateur=model)),
        ("amateur='gpt2': there is no kind of that name", lambda: decode(expert, TEXTS, amateur="gpt2")),
        ("settings: 'amateur.share' is no setting", lambda: decode(expert, TEXTS, settings={"amateur.share": 1})),
        ("amateur", lambda: decode(expert, TEXTS, amateur=True)),
        ("amateur", lambda: decode(expert, TEXTS, amateur=[1, 2])),  # type: ignore[arg-type]
        ("contrast: expected cdeval.api.Contrast", lambda: decode(expert, TEXTS, contrast={"alpha": 1})),  # type: ignore[arg-type]
        ("search: expected cdeval.api.Search", lambda: decode(expert, TEXTS, search="greedy")),  # type: ignore[arg-type]
        (
            "search=greeedy: there is none of that name. Did you mean 'greedy'",
            lambda: decode(expert, TEXTS, search=Search(kind="greeedy")),
        ),  # type: ignore[arg-type]
        ("search.max_new_tokens", lambda: decode(expert, TEXTS, search=Search(max_new_tokens="many"))),  # type: ignore[arg-type]
        ("contrast.alpha", lambda: decode(expert, TEXTS, contrast=Contrast(alpha="high"))),  # type: ignore[arg-type]
        ("seed=-1", lambda: decode(expert, TEXTS, seed=-1)),
        ("seed='a'", lambda: decode(expert, TEXTS, seed="a")),  # type: ignore[arg-type]
        ("max_lanes=0", lambda: decode(expert, TEXTS, max_lanes=0)),
        ("max_lanes='all'", lambda: decode(expert, TEXTS, max_lanes="all")),
        (r"prompts\[1\]: expected a text", lambda: decode(expert, ["a", 3])),  # type: ignore[list-item]
        ("a list of texts", lambda: decode(expert, 3)),  # type: ignore[arg-type]
        ("candidates=0", lambda: trace(expert, TEXTS[0], candidates=0)),
        ("expected a text", lambda: layers(expert, 3)),  # type: ignore[arg-type]
        ("blocks", lambda: layers(expert, TEXTS[0], blocks=["a"])),  # type: ignore[list-item]
        ("expected at least one text", lambda: score({"a": []})),
        ("as {'my arm'", lambda: score(text)),  # type: ignore[arg-type]
        ("expected the generations", lambda: score({"a": [3]})),  # type: ignore[list-item]
        (r"metrics=\['diversity'\]", lambda: score({"a": text}, metrics="diversity")),
        ("scorer: expected what", lambda: score({"a": text}, model)),  # type: ignore[arg-type]
        ("not a file", lambda: decode(expert, TEXTS, amateur=2, lens=tmp_path / "none.safetensors")),  # type: ignore[arg-type]
    ]
    for message, act in cases:
        with pytest.raises(CdevalError, match=message):
            act()


def test_choices_may_be_named(tokenizer: PreTrainedTokenizerFast) -> None:
    expert = load(build_model("llama"), tokenizer)
    named = Search(kind="greedy", ban="eos", beams=1, max_new_tokens=6)  # type: ignore[arg-type]
    meant = Search(SearchKind.greedy, ban=Ban.eos, beams=1, max_new_tokens=6)
    assert decode(expert, TEXTS, search=named) == decode(expert, TEXTS, search=meant)


def test_a_folder_may_be_a_path(tiny_gpt2_folder: Path) -> None:
    assert load(tiny_gpt2_folder).name == str(tiny_gpt2_folder)
    assert AutoTokenizer.from_pretrained(tiny_gpt2_folder)
