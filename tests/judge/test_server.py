"""A judge behind an address: a small server of the tests' own, on this machine."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cdeval.errors import ModelError
from cdeval.judge import server as client
from cdeval.judge.config import JudgeConfig, JudgeKind
from cdeval.judge.server import ServerJudge

Reply = Callable[[dict[str, Any]], tuple[int, bytes]]
KEY = "s3cret-key"


def completion(*likely: tuple[str, float], said: str = "A") -> bytes:
    """An answer as OpenAI's interface writes it."""
    told = {"content": [{"token": said, "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in likely]}]}
    choice = {"message": {"content": said}, "logprobs": told if likely else None}
    return json.dumps({"choices": [choice], "usage": {"total_tokens": 321}}).encode()


class Served:
    """A server that says what a test tells it, and remembers what it was asked."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, body, self.headers.get("Authorization")))
                code, content = outer.replies.pop(0)
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", f"http://127.0.0.1:{outer.port}/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_given: object) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # this machine is asked without a proxy
    monkeypatch.setattr(client, "_PAUSE", 0.0)
    server = Served()
    yield server
    server.close()


def judge_at(served: Served, key: str | None = "MY_KEY") -> ServerJudge:
    return ServerJudge(JudgeConfig(JudgeKind.server, "small", f"http://127.0.0.1:{served.port}/v1/", key))


def test_the_distribution_is_read_from_the_answer(served: Served) -> None:
    """Spellings of a letter add up; what is no letter has no part."""
    served.replies = [(200, completion(("A", 0.3), (" A", 0.1), ("B", 0.2), ("C", 0.2), ("Well", 0.1)))]
    answer = judge_at(served).ask("the prompt", "one", "two")
    assert answer[:3] == pytest.approx((0.5, 0.25, 0.25))
    assert answer.tokens == 321
    ((path, body, authorization),) = served.asked
    assert path == "/v1/chat/completions"
    assert authorization == f"Bearer {KEY}"
    assert (body["model"], body["max_tokens"], body["logprobs"]) == ("small", 1, True)
    assert "the prompt" in body["messages"][0]["content"]


def test_a_server_without_probabilities_is_taken_at_its_word(served: Served) -> None:
    served.replies = [(200, completion(said=" B."))]
    answer = judge_at(served, key=None).ask("p", "one", "two")
    assert answer[:3] == (0, 1, 0)
    assert served.asked[0][2] is None


def test_a_busy_server_is_asked_again(served: Served) -> None:
    served.replies = [(503, b"busy"), (429, b"slow"), (200, completion(("A", 0.9)))]
    assert judge_at(served).ask("p", "one", "two").first == 1
    assert len(served.asked) == 3


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ([(401, f"no such key: {KEY}".encode())], "answers 401 (no such key: (the key))"),
        ([(302, b"")], "answers 302"),
        ([(200, b"<html>")], "answers what is no JSON"),
        ([(200, b"{}")], "something else than OpenAI's chat completions"),
        ([(500, b"broken")] * 4, "answers 500 (broken)"),
        ([(200, completion(("Well", 0.9)))], "does not answer with one of A, B, C"),
    ],
)
def test_what_goes_wrong_is_said_without_the_key(
    served: Served, replies: list[tuple[int, bytes]], message: str
) -> None:
    served.replies = list(replies)
    judge = judge_at(served)
    with pytest.raises(ModelError) as raised:
        judge.ask("p", "one", "two")
    assert message in str(raised.value)
    assert KEY not in str(raised.value)
    assert KEY not in judge.identity
    assert [path for path, *_ in served.asked] == ["/v1/chat/completions"] * len(replies), (
        "a redirection is not followed"
    )


def test_nobody_there_is_said_so(served: Served) -> None:
    judge = judge_at(served)
    served.close()
    with pytest.raises(ModelError, match="the server does not answer"):
        judge.ask("p", "one", "two")
