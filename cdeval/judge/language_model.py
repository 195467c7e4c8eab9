"""A local language model as a judge: the probabilities of its next token after the question, read in one pass.

A model whose tokenizer brings a chat template is asked as in a chat; any other one goes on after "Answer:". A letter's
probability is that of all its tokens, with and without a space before it.
"""

import torch

from cdeval.cost.flops import matrix_weights, token_flops
from cdeval.errors import ModelError
from cdeval.judge.asking import JudgeAnswer
from cdeval.judge.config import JudgeConfig
from cdeval.judge.question import letters_of, question, question_digest, shares
from cdeval.metrics.judges.scorer import context_length, identity
from cdeval.models.loading import LanguageModel, ReadingModel
from cdeval.prompts.tokens import TextCodec

_CUE = "\n\nAnswer:"  # of a model that was not trained to chat


class LanguageModelJudge:
    """A local language model that is asked in words."""

    symmetric = False

    def __init__(self, model: ReadingModel, config: JudgeConfig) -> None:
        self.name = model.name
        self._model, self._config = model, config
        self._codec = TextCodec(model.tokenizer)
        self._chats = bool(getattr(model.tokenizer, "chat_template", None))
        self._tokens = {letter: self._tokens_of(letter) for letter in letters_of(config)}
        self.identity = f"{identity(model)} {'chat' if self._chats else _CUE} {question_digest(config)}"

    def _tokens_of(self, letter: str) -> list[int]:
        """The tokens that begin an answer with this letter. Raises: ModelError: there is none of one letter alone."""
        spelled = (
            self._codec.continuation_ids(form, self._codec.prompt_ids("Answer:")) for form in (letter, f" {letter}")
        )
        found = sorted(
            {ids[0] for ids in spelled if len(ids) == 1 and self._codec.token_text(ids[0]).strip() == letter}
        )
        if not found:
            raise ModelError(
                f"judge.model={self.name}: its tokenizer has no token for the letter {letter}, with which it would "
                "answer. Give another judge."
            )
        return found

    @torch.inference_mode()
    def ask(self, prompt: str, first: str, second: str) -> JudgeAnswer:
        """Read the question and the probabilities of the letters.

        Raises: ModelError: the question is longer than the model's context, or the answer is something else.
        """
        words = question(self._config, prompt, first, second)
        ids = self._codec.chat_ids(words, None) if self._chats else self._codec.prompt_ids(words + _CUE)
        limit = context_length(self._model)
        if limit is not None and len(ids) > limit:
            raise ModelError(
                f"A question of {len(ids)} tokens is longer than the {limit} that {self.name} reads: judge shorter "
                "texts, or by a model of a longer context."
            )
        model = self._model.model
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False, logits_to_keep=1).logits[
            0, -1
        ]
        likely = logits.float().softmax(-1)
        found = {letter: float(likely[tokens].sum()) for letter, tokens in self._tokens.items()}
        return JudgeAnswer(*shares(found, self._config, self.name), len(ids), self._flops(len(ids)), 0.0)

    def _flops(self, tokens: int) -> float:
        """By formula where the architecture is known; else the matrices alone, without attention."""
        if isinstance(self._model, LanguageModel):
            costs = token_flops(self._model)
            return costs.prompt(tokens) + costs.head
        return 2.0 * matrix_weights(self._model.model) * tokens
