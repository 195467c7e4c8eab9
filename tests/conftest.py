"""Tiny random models of every supported architecture, and a real tokenizer: no file, no network."""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # workers that each take all cores wait for one another, at full speed
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shapes in annotations of the engine are checked at every call, in tests only.
from jaxtyping import install_import_hook

install_import_hook("cdeval.decode", "beartype.beartype")

import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import torch
import transformers
from _pytest.mark import ParameterSet
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from cdeval import cli
from cdeval.models.anatomy import ANATOMIES
from cdeval.models.attention import attention_for
from cdeval.models.loading import LanguageModel, language_model
from cdeval.store import progress
from tests.commands import TEXTS, run_main


def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would all that is started and interrupted here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run whole studies come first, so that none of them is still running when the other worker is done."""
    items.sort(key=lambda item: item.path.parent.name not in ("study", "studies"))


@pytest.fixture(autouse=True)
def _announces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a command is slow enough to say that it has begun is the machine's matter, and no test's."""
    monkeypatch.setattr(progress, "_SOON", 60.0)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The clock of progress: goes on by so much each time that it is read."""

    def going_on_by(step: float) -> None:
        now = iter(step * tick for tick in range(10_000))
        monkeypatch.setattr(progress.time, "perf_counter", lambda: next(now))

    return going_on_by


VOCAB = 128
_COMMON = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
_GROUPED = {"num_key_value_heads": 2, "max_position_embeddings": 256}

# One row an architecture: configuration class, model class, what differs from the common sizes.
TINY: dict[str, tuple[str, str, dict[str, object]]] = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256}),
    "opt": (
        "OPTConfig",
        "OPTForCausalLM",
        {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "ffn_dim": 48, "word_embed_proj_dim": 32}
        | {"max_position_embeddings": 256},
    ),
    "opt_projected": (  # as opt-350m: post-norm, no final norm, narrower embeddings
        "OPTConfig",
        "OPTForCausalLM",
        {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "ffn_dim": 48, "word_embed_proj_dim": 16}
        | {"max_position_embeddings": 256, "do_layer_norm_before": False},
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", _SIZES | _GROUPED | {"tie_word_embeddings": True}),
    "mistral": ("MistralConfig", "MistralForCausalLM", _SIZES | _GROUPED),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _SIZES | _GROUPED),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", _SIZES | _GROUPED | {"head_dim": 8}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", _SIZES | _GROUPED | {"head_dim": 8}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", _SIZES | _GROUPED | {"head_dim": 8, "query_pre_attn_scalar": 8}),
    "gemma3_text": ("Gemma3TextConfig", "Gemma3ForCausalLM", _SIZES | _GROUPED | {"head_dim": 8}),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", _SIZES | {"max_position_embeddings": 256}),
    "phi": ("PhiConfig", "PhiForCausalLM", _SIZES | _GROUPED),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", _SIZES | _GROUPED),
}
assert {name.removesuffix("_projected") for name in TINY} == set(ANATOMIES), "every architecture needs its tiny model"

# The families that every run of the tests decodes with. Between them they have learned and rotary positions, grouped
# keys, windows, norms before and after a block, tied and untied heads. The others decode with `pytest -m nightly`.
EVERY_RUN = ("gemma3_text", "gpt2", "llama", "opt")


def each_night(names: Iterable[str] = sorted(TINY), every_run: Iterable[str] = EVERY_RUN) -> list[str | ParameterSet]:
    """The architectures as parameters of a test: those that are not for every run are marked `nightly`."""
    return [name if name in every_run else pytest.param(name, marks=pytest.mark.nightly) for name in names]


_TEXT = [
    "The quick brown fox jumps over the lazy dog and runs into the forest near the old river.",
    "Researchers said on Monday that the results of the study were not yet clear to them.",
    "A small model writes what a large model would rather not say, and the difference is the point.",
]


def build_tokenizer(*more: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE of exactly VOCAB - 2 tokens, so that two vocabulary rows belong to no token.

    Each special token that is named moves the ids of all plain tokens by one.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = sorted(
        {sign for text in _TEXT for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text) for sign in word}
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 2,
        special_tokens=["<|end|>", "<|marker|>", *more],
        initial_alphabet=letters,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", bos_token="<|end|>")  # noqa: S106
    fast.add_special_tokens({"additional_special_tokens": ["<|marker|>"]})
    return fast


def build_model(architecture: str, seed: int = 0, **overrides: object) -> transformers.PreTrainedModel:
    """A random float32 model of a few thousand weights, sharp enough that its top tokens differ clearly."""
    config_class, model_class, sizes = TINY[architecture]
    torch.manual_seed(seed)
    config = getattr(transformers, config_class)(**{**_COMMON, **sizes, **overrides})
    config._attn_implementation = attention_for(config)
    model = getattr(transformers, model_class)(config).eval().requires_grad_(requires_grad=False)
    # Default initialisation gives nearly uniform next tokens: spread the weights so that layers and tokens disagree.
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight.normal_(0.0, 0.3 if "embed" in name or "wte" in name or "head" in name else 0.15)
    model.generation_config.eos_token_id = config.eos_token_id
    assert model.num_parameters() < 1_000_000, "the tiny model is not tiny: a misspelt size in TINY?"
    return model


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str, Sequence[str]], str]:
    """Type a command in this process, as `typed("lens", ["train=true"])`: what it prints to the standard output."""

    def type_in(command: str, arguments: Sequence[str]) -> str:
        monkeypatch.setattr(sys, "argv", [f"cdeval.{command}", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        run_main(command)
        return capsys.readouterr().out

    return type_in


@pytest.fixture
def nobodys_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose commands whose files need not be there."""
    monkeypatch.setattr(cli, "early_mistakes", lambda _configs: [])


@pytest.fixture
def refused(
    typed: Callable[[str, Sequence[str]], str], capsys: pytest.CaptureFixture[str]
) -> Callable[[str, Sequence[str]], str]:
    """Type a command that is refused: its one message."""

    def type_in(command: str, arguments: Sequence[str]) -> str:
        with pytest.raises(SystemExit) as stopped:
            typed(command, arguments)
        printed = capsys.readouterr().err
        assert stopped.value.code == 2, printed
        assert "Traceback" not in printed
        (message,) = [line for line in printed.splitlines() if line.startswith("error: ")]
        return message

    return type_in


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture(scope="session")
def tiny(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], LanguageModel]:
    """Tiny models by architecture, built once."""
    built: dict[str, LanguageModel] = {}

    def get(architecture: str) -> LanguageModel:
        if architecture not in built:
            # The test that asks first may be under inference mode, whose tensors no later one could learn from.
            with torch.inference_mode(mode=False):
                built[architecture] = language_model(build_model(architecture), tokenizer, f"tiny {architecture}")
        return built[architecture]

    return get


@pytest.fixture(scope="session", params=each_night())
def any_tiny(request: pytest.FixtureRequest, tiny: Callable[[str], LanguageModel]) -> LanguageModel:
    """Each architecture in turn; of those that share their mechanisms with another, nightly."""
    return tiny(request.param)


@pytest.fixture(scope="session", params=each_night(every_run=("gpt2", "llama")))
def two_tiny(request: pytest.FixtureRequest, tiny: Callable[[str], LanguageModel]) -> LanguageModel:
    """Learned and rotary positions in every run, the others nightly: for what comes after the blocks."""
    return tiny(request.param)


@pytest.fixture(scope="session", params=sorted(TINY))
def every_tiny(request: pytest.FixtureRequest, tiny: Callable[[str], LanguageModel]) -> LanguageModel:
    """Each architecture in turn, for tests that take some milliseconds."""
    return tiny(request.param)


@pytest.fixture(scope="session")
def tiny_gpt2_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A GPT-2 checkpoint as save_pretrained writes it, as deep as gpt2 small."""
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    build_model("gpt2", n_layer=12, n_positions=512).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"id": f"text-{i}", "text": text}) for i, text in enumerate(TEXTS)))
    return path


def check_same_model(
    found: transformers.PreTrainedModel, model: transformers.PreTrainedModel, ids: torch.Tensor
) -> None:
    """Compare weights to the bit, and logits but for rounding.

    Some processors sum in another order what lies elsewhere in memory.
    """
    one, other = found.state_dict(), model.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    torch.testing.assert_close(found(ids).logits, model(ids).logits)
