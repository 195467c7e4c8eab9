"""Prompts as chat models read them: wrapped by the tokenizer's template, with references and metrics of the answer."""

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import PromptSource
from cdeval.config.points import prompts_digest
from cdeval.config.schema import PromptsConfig
from cdeval.errors import PromptError
from cdeval.prompts.load import load_prompts
from tests.commands import on
from tests.conftest import build_model, build_tokenizer
from tests.prompts.test_load import byte_tokenizer

TEMPLATE = (
    "{% for one in messages %}<end>{{ one['role'] }}: {{ one['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<end>assistant:{% endif %}"
)
STRICT = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
ITEMS = [
    {"id": "a", "prompt": "Why?", "reference": " Because."},
    {"id": "b", "prompt": "Where?", "reference": " Here.", "context": "In Rome. "},
    {"id": "c", "text": "once upon a time there was a king"},
]


def chatting(template: str = TEMPLATE, around: str | None = None) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer(around)
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def config(tmp_path: Path) -> PromptsConfig:
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, ITEMS)))
    return PromptsConfig(
        PromptSource.file, str(tmp_path / "items.jsonl"), prompt_tokens=4, limit=None, chat_template=True
    )


@pytest.mark.parametrize("around", [None, "<end> $A <end>"])
def test_a_prompt_is_the_words_of_a_user(config: PromptsConfig, around: str | None) -> None:
    """The template writes the beginning of a text itself: a tokenizer that adds one adds no second."""
    tokenizer = chatting(around=around)
    found = load_prompts(config, tokenizer, 4, seed=0)
    read = [tokenizer.decode(prompt.token_ids) for prompt in found.prompts]
    cut = "once" if around is None else "onc"  # BOS counts among the tokens of a text that is cut
    assert read == [
        "<end>user: Why?<end>assistant:",
        "<end>user: In Rome. Where?<end>assistant:",
        f"<end>user: {cut}<end>assistant:",
    ]
    assert [prompt.text for prompt in found.prompts] == ["Why?", "In Rome. Where?", cut], "as the user said it"
    assert [prompt.reference for prompt in found.prompts][:2] == [" Bec", " Her"]
    assert tokenizer.decode(found.prompts[1].without_context) == "<end>user: Where?<end>assistant:"
    assert found.source.endswith(", as chat")


def test_what_is_wrapped_is_part_of_what_texts_are_stored_under(config: PromptsConfig) -> None:
    plain = PromptsConfig(PromptSource.file, config.path, prompt_tokens=4, limit=None)
    kinds = [plain, config, PromptsConfig(**{**vars(config), "system": "Be brief."})]
    prompts = [load_prompts(one, chatting(), 4, seed=0).prompts for one in kinds]
    assert len({prompts_digest(one) for one in prompts}) == 3
    assert chatting().decode(prompts[2][0].token_ids) == "<end>system: Be brief.<end>user: Why?<end>assistant:"


def test_what_cannot_be_wrapped_says_why(config: PromptsConfig) -> None:
    with pytest.raises(PromptError, match="has no chat template"):
        load_prompts(config, byte_tokenizer(), 4, seed=0)
    config.system = "Be brief."
    with pytest.raises(PromptError, match=r"refuses 'Why\?': no system\. Some templates take no system prompt"):
        load_prompts(config, chatting(STRICT), 4, seed=0)


def test_the_command(typed, refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}<|marker|>"
    build_model("gpt2", n_layer=12).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "items.jsonl").write_text(json.dumps({"id": "a", "prompt": "The quick"}))
    own = [f"runs={tmp_path}", "tracking=none", "controls=false", "metrics.only=[words]"]
    line = [*on(tmp_path / "model", tmp_path / "items.jsonl", *own)]
    assert "prompts.system=Be brief. is not read" in refused("run", [*line, "prompts.system=Be brief."])
    typed("run", [*line, "prompts.chat_template=true"])
    (file,) = tmp_path.glob("embedded/*/generations.jsonl")
    text = json.loads(file.read_text())
    assert text["prompt"] == "The quick"
    assert text["prompt_token_ids"][-1] == 1, "the template's last token, after which the answer begins"
    assert "chat_template: true" in (file.parent / "config.yaml").read_text()
