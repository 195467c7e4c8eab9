"""A language model behind an address as a judge: OpenAI's chat completions, as many servers speak them.

One token is asked for, with the probabilities of the twenty likeliest ones; letters that are not among them have none.
A server that tells no probabilities is taken at its word: its letter counts as certain.

The key goes to the address that was given and nowhere else: redirections are refused, and nothing that is shown or
kept holds it. An address of this machine is asked without a proxy.
"""

import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cdeval.errors import ModelError, one_line
from cdeval.judge.asking import JudgeAnswer
from cdeval.judge.config import JudgeConfig, is_loopback, key_of
from cdeval.judge.question import letters_of, question, question_digest, shares

_TRIES = 4
_PAUSE = 1.0  # seconds before the second try, twice as long before each further one
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LARGEST = 1 << 22  # bytes of an answer
_SAID = 200  # letters of what a server says in a message


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another address would get the key."""

    def redirect_request(self, *_given: Any) -> None:
        return None


class ServerJudge:
    """A language model behind an address."""

    symmetric = False

    def __init__(self, config: JudgeConfig) -> None:
        """Take the address and the key. Raises: ConfigError: there is no key in the environment."""
        self.name = config.model
        self._config, self._key = config, key_of(config)
        self._address = f"{str(config.url).rstrip('/')}/chat/completions"
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if is_loopback(urlsplit(self._address).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self.identity = f"{self._address} {config.model} {question_digest(config)}"

    def ask(self, prompt: str, first: str, second: str) -> JudgeAnswer:
        """Send the question, and read the probabilities of the letters. Raises: ModelError: there is no answer."""
        body = {
            "model": self._config.model,
            "messages": [{"role": "user", "content": question(self._config, prompt, first, second)}],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 20,
        }
        answer = self._post(json.dumps(body).encode())
        try:
            found = self._letters(answer["choices"][0])
            tokens = float((answer.get("usage") or {}).get("total_tokens", math.nan))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._failure("answers something else than OpenAI's chat completions") from error
        return JudgeAnswer(*shares(found, self._config, self.name), tokens, math.nan, 0.0)

    def _letters(self, choice: Mapping[str, Any]) -> dict[str, float]:
        """The probabilities of the letters that a choice tells."""
        told = (choice.get("logprobs") or {}).get("content") or []
        likely = told[0].get("top_logprobs") or told if told else []
        found: dict[str, float] = {}
        for one in likely:
            letter = str(one["token"]).strip().strip(".()*\"'")
            if letter in letters_of(self._config):
                found[letter] = found.get(letter, 0.0) + math.exp(min(0.0, float(one["logprob"])))
        if not likely:
            said = str(choice["message"]["content"] or "").strip().strip(".()*\"'")[:1]
            found = {said: 1.0}
        return found

    def _post(self, body: bytes) -> Any:
        """The server's answer as JSON, after a few tries. Raises: ModelError: there is none."""
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._address, body, headers)  # noqa: S310 - http or https, as checked
        for left in reversed(range(_TRIES)):
            try:
                with self._opener.open(request, timeout=self._config.timeout) as reply:
                    return json.loads(reply.read(_LARGEST))
            except urllib.error.HTTPError as error:
                if error.code not in _AGAIN or not left:
                    raise self._failure(f"answers {error.code} ({self._said(error)})") from error
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    raise self._failure(f"does not answer ({self._shown(one_line(error))})") from error
            except ValueError as error:
                raise self._failure("answers what is no JSON") from error
            time.sleep(_PAUSE * 2 ** (_TRIES - 1 - left))
        raise AssertionError  # the last try returns or raises

    def _said(self, error: urllib.error.HTTPError) -> str:
        try:
            return self._shown(" ".join(error.read(_LARGEST).decode("utf-8", "replace").split()))
        except (OSError, http.client.HTTPException):
            return "nothing more"

    def _shown(self, text: str) -> str:
        """Words of others without the key, which a server may repeat."""
        return (text.replace(self._key, "(the key)") if self._key else text)[:_SAID]

    def _failure(self, what: str) -> ModelError:
        return ModelError(
            f"judge.url={self._config.url}: the server {what}. What was judged is kept: the same command goes on."
        )
