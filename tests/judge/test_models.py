"""A local language model and a reward model as judges, against their own logits computed plainly."""

import math
from pathlib import Path

import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Dtype
from cdeval.config.schema import ExpertConfig
from cdeval.cost.flops import token_flops
from cdeval.errors import ModelError
from cdeval.judge.config import JudgeConfig
from cdeval.judge.language_model import LanguageModelJudge
from cdeval.judge.question import question, shares
from cdeval.judge.reward_model import RewardModelJudge
from cdeval.models.loading import LanguageModel, language_model
from tests.conftest import build_model, build_tokenizer

TEXTS = ("The quick brown", " fox runs", " dog jumps over")


@pytest.fixture(scope="module")
def lettered() -> LanguageModel:
    """The tests' tokenizer has no token for B and C: here they are tokens of their own."""
    return language_model(build_model("gpt2", n_positions=1024), build_tokenizer("B", "C"), "lettered")


@pytest.mark.parametrize("ties", [True, False])
def test_probabilities_are_those_of_the_next_token(lettered: LanguageModel, ties: bool) -> None:
    config = JudgeConfig(ties=ties)
    judge = LanguageModelJudge(lettered, config)
    answer = judge.ask(*TEXTS)
    ids = lettered.tokenizer(question(config, *TEXTS) + "\n\nAnswer:")["input_ids"]
    with torch.no_grad():
        likely = lettered.model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    letters = [float(likely[lettered.tokenizer.convert_tokens_to_ids(letter)]) for letter in "ABC"[: 2 + ties]]
    expected = [letter / sum(letters) for letter in letters]
    assert list(answer[: len(expected)]) == pytest.approx(expected, rel=1e-4)
    assert sum(answer[:3]) == pytest.approx(1)
    assert answer.tokens == len(ids)
    costs = token_flops(lettered)
    assert answer.flops == costs.prompt(len(ids)) + costs.head


def test_a_chat_model_is_asked_as_in_a_chat(lettered: LanguageModel) -> None:
    tokenizer = build_tokenizer("B", "C")
    tokenizer.chat_template = "{% for m in messages %}the dog {{ m.content }} the fox{% endfor %}"
    chats = language_model(lettered.model, tokenizer, "chats")
    config = JudgeConfig()
    judge = LanguageModelJudge(chats, config)
    ids = tokenizer(f"the dog {question(config, *TEXTS)} the fox")["input_ids"]
    assert judge.ask(*TEXTS).tokens == len(ids)
    assert judge.identity != LanguageModelJudge(lettered, config).identity
    assert LanguageModelJudge(lettered, JudgeConfig(question="Which is funnier?")).identity != judge.identity


def test_what_cannot_answer_is_refused(tiny_gpt2_folder: Path, lettered: LanguageModel) -> None:
    bare = language_model(lettered.model, build_tokenizer(), "bare")
    with pytest.raises(ModelError, match="no token for the letter B"):
        LanguageModelJudge(bare, JudgeConfig())
    with pytest.raises(ModelError, match="longer than the 1024 that lettered reads"):
        LanguageModelJudge(lettered, JudgeConfig()).ask("The " * 3000, "a", "b")
    with pytest.raises(ModelError, match="does not answer with one of A, B, C"):
        shares({"A": 1e-9}, JudgeConfig(), "it")
    with pytest.raises(ModelError, match="does not answer"):
        shares({"A": math.nan}, JudgeConfig(), "it")


def reward_folder(folder: Path, tokenizer: PreTrainedTokenizerFast, labels: int = 1) -> Path:
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    config = transformers.GPT2Config(vocab_size=128, pad_token_id=0, num_labels=labels, **sizes)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_reward_models_difference_is_a_preference(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    folder = reward_folder(tmp_path / "reward", tokenizer)
    judge = RewardModelJudge(str(folder), ExpertConfig("none", device="cpu", dtype=Dtype.float32))
    model = transformers.GPT2ForSequenceClassification.from_pretrained(folder).eval()
    prompt, *texts = TEXTS
    with torch.no_grad():
        rewards = [float(model(**tokenizer(prompt, text, return_tensors="pt")).logits[0, 0]) for text in texts]
    answer = judge.ask(*TEXTS)
    assert answer.first == pytest.approx(1 / (1 + math.exp(rewards[1] - rewards[0])), rel=1e-4)
    assert answer.first + answer.second == pytest.approx(1)
    back = judge.ask(prompt, texts[1], texts[0])
    assert back.first == pytest.approx(answer.second)
    assert answer.flops > 0
    with pytest.raises(ModelError, match="longer than the 128"):
        judge.ask("The " * 200, "a", "b")


def test_no_language_model_is_taken_for_a_reward_model(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, tiny_gpt2_folder: Path
) -> None:
    """Its head would be random numbers."""
    config = ExpertConfig("none", device="cpu")
    with pytest.raises(ModelError, match="missing, and would be random numbers"):
        RewardModelJudge(str(tiny_gpt2_folder), config)
    folder = reward_folder(tmp_path / "three", tokenizer, labels=3)
    with pytest.raises(ModelError, match="has 3 numbers a text"):
        RewardModelJudge(str(folder), config)
