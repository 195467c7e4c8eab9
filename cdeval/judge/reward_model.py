"""A reward model as a judge: a sequence classifier that gives each text one number.

    P(a is better) = 1 / (1 + exp(−(r(a) − r(b))))       Bradley & Terry (1952), as such models are trained

A tokenizer with a chat template wraps prompt and continuation as a user's words and the answer to them; any other one
reads them as a pair. The order of the texts does not matter, and each text is read once.
"""

import math
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cdeval.assets import embedded as assets
from cdeval.assets.hub import require_hub
from cdeval.config.schema import ExpertConfig
from cdeval.cost.flops import matrix_weights
from cdeval.errors import CdevalError, ModelError, one_line
from cdeval.judge.asking import JudgeAnswer
from cdeval.models.checkpoint import check_complete, check_files, fetch_weights, local_folder, weight_files
from cdeval.models.hardware import choose_device, choose_dtype
from cdeval.models.identity import settings_digest, tokenizer_digest, weights_digest
from cdeval.models.quiet import quiet_transformers


class RewardModelJudge:
    """A sequence classifier with one number a text."""

    symmetric = True

    def __init__(self, name: str, config: ExpertConfig) -> None:
        """Read the model. Args: name: folder or hub id. config: device and number format.

        Raises: ModelError, HubError: it cannot be read, or is no reward model.
        """
        self.name = name
        path = assets.resolve(name)
        if not Path(path).is_dir():
            require_hub(asked=f"judge.model={name}", instead="a local folder", repo=path)
        device = choose_device(config.device)
        try:
            with quiet_transformers():
                folder = local_folder(path)
                check_files(folder, f"judge.model={name}")
                fetch_weights(path, None)
                self._tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
                model, report = AutoModelForSequenceClassification.from_pretrained(
                    path,
                    dtype=choose_dtype(config.dtype, device),
                    use_safetensors=weight_files(folder, name).safetensors,
                    trust_remote_code=False,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                )
        except CdevalError:
            raise
        except Exception as error:  # around calls of transformers alone, which raises what it likes
            raise ModelError(
                f"judge.model={name} cannot be opened as a reward model, a sequence classifier with one number a text: "
                f"{one_line(error)}."
            ) from error
        check_complete(report, f"judge.model={name}")
        if model.config.num_labels != 1:
            raise ModelError(
                f"judge.model={name} has {model.config.num_labels} numbers a text, and a reward model has one: give a "
                "sequence classifier that was trained on preferences."
            )
        self._model = model.to(device).eval()
        self._rewards: dict[tuple[str, str], tuple[float, int]] = {}
        facts = (settings_digest(model.config), tokenizer_digest(self._tokenizer), f"{model.dtype} {device.type}")
        self.identity = " ".join([weights_digest(model), *facts])

    def ask(self, prompt: str, first: str, second: str) -> JudgeAnswer:
        """Compare two texts' rewards. Raises: ModelError: one is too long, or its reward is no finite number."""
        (ours, read), (theirs, more) = self._reward(prompt, first), self._reward(prompt, second)
        share = 1 / (1 + math.exp(-max(-700.0, min(700.0, ours - theirs))))
        flops = 2.0 * matrix_weights(self._model) * (read + more)
        return JudgeAnswer(share, 1 - share, 0.0, read + more, flops, 0.0)

    def _reward(self, prompt: str, text: str) -> tuple[float, int]:
        """The reward, and the number of tokens read for it."""
        if (prompt, text) not in self._rewards:
            self._rewards[prompt, text] = self._read(prompt, text)
        return self._rewards[prompt, text]

    @torch.inference_mode()
    def _read(self, prompt: str, text: str) -> tuple[float, int]:
        if getattr(self._tokenizer, "chat_template", None):
            said = [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
            wrapped = self._tokenizer.apply_chat_template(said, tokenize=False)
            given = self._tokenizer(wrapped, add_special_tokens=False, return_tensors="pt")
        else:
            given = self._tokenizer(prompt, text, return_tensors="pt")
        tokens = int(given["input_ids"].shape[1])
        limit = getattr(self._model.config, "max_position_embeddings", None)
        if limit is not None and 0 < limit < tokens:
            raise ModelError(
                f"A text of {tokens} tokens with its prompt is longer than the {limit} that {self.name} reads: judge "
                "shorter texts, or by another model."
            )
        reward = float(self._model(**given.to(self._model.device)).logits[0, 0])
        if not math.isfinite(reward):
            raise ModelError(
                f"judge.model={self.name} gives a reward that is no finite number: try expert.dtype=float32."
            )
        return reward, tokens
