"""A small W&B on the loopback: it speaks what wandb's client asks of it, and keeps what it was sent.

Also a W&B that is ill, from a request on: it hangs, answers with errors, or closes every connection.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef01234567"
_PATH = re.compile(r"/files/(?P<entity>[^/]+)/(?P<project>[^/]+)/(?P<run>[^/]+)/file_stream")


class WandbServer(ThreadingHTTPServer):
    """The server and what it received."""

    daemon_threads = True

    def __init__(self, *, points: list[dict[str, Any]] | None = None, command: list[str] | None = None) -> None:
        """Begin to answer.

        Args:
            points: the settings that a sweep agent is to try, one after the other.
            command: of the sweep.
        """
        super().__init__(("127.0.0.1", 0), _Answers)
        self.points, self.command = list(points or []), command or []
        self.ill: str | None = None  # hang, error or close
        self.ill_after: int | None = None  # requests
        self.requests: list[tuple[str, str, bytes]] = []  # method, path, body
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}  # what upsertBucket said, by run id
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.summary: dict[str, dict[str, Any]] = {}
        self.exits: dict[str, int] = {}
        self.states: list[tuple[str, int]] = []  # a run and the rows of history that it had at each request of its own
        self.files: dict[str, bytes] = {}
        self.released = threading.Event()  # what hangs ends here
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Clients that are given up close their connections."""


@contextmanager
def wandb_server(**given: Any) -> Iterator[WandbServer]:
    server = WandbServer(**given)
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


class _Answers(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_PUT = do_POST  # noqa: N815 - the name that http.server calls

    def _answer(self, body: bytes) -> None:
        server = self.server
        with server.lock:
            server.requests.append((self.command, self.path, body))
            ill = server.ill if server.ill_after is None or len(server.requests) > server.ill_after else None
        if ill == "hang":
            server.released.wait(300)
            self.close_connection = True
            return
        if ill == "close":
            self.close_connection = True
            return
        if ill == "error":
            self._send({"error": "down for maintenance"}, 503)
            return
        if self.path == "/graphql":
            asked = json.loads(body)
            with server.lock:
                found = _graphql(server, asked.get("query", ""), asked.get("variables") or {})
            self._send({"data": found})
        elif place := _PATH.match(self.path):
            with server.lock:
                _file_stream(server, place["run"], json.loads(body))
            self._send({})
        else:
            if self.command == "PUT":
                server.files[self.path] = body
            self._send({})

    def _send(self, answer: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _graphql(server: WandbServer, query: str, given: dict[str, Any]) -> dict[str, Any]:
    """The answer to one query: enough of each type for wandb's client."""
    name = (re.search(r"(?:query|mutation)\s+(\w+)", query) or re.search(r"(\w+)", query))[1]  # type: ignore[index]
    server.operations.append(name)
    field = next((one for one in _FIELDS if re.search(rf"\b{one}\b", query)), None)
    if field is None:
        server.unknown.append(query)
        return {}
    return _FIELDS[field](server, {**given, **(given.get("input") or {})})


def _upsert_bucket(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    run_id = given["name"]
    new = run_id not in server.runs
    known = server.runs.setdefault(run_id, {})
    known.update({name: value for name, value in given.items() if value is not None})
    if given.get("config"):
        known["config"] = {key: one.get("value") for key, one in json.loads(given["config"]).items()}
    bucket = {
        "id": f"storage-{run_id}",
        "name": run_id,
        "displayName": known.get("displayName", run_id),
        "description": "",
        "config": "{}",
        "sweepName": known.get("sweep"),
        "historyLineCount": 0,
        "project": {"id": "p", "name": known.get("project") or "p", "entity": {"id": "e", "name": "me"}},
    }
    return {"upsertBucket": {"bucket": bucket, "inserted": new}}


def _sweep(server: WandbServer, _given: dict[str, Any]) -> dict[str, Any]:
    config = json.dumps({"method": "grid", "metric": {"name": "words", "goal": "maximize"}, "parameters": {}})
    if server.command:
        config = json.dumps({**json.loads(config), "command": server.command})
    sweep = {"id": "s", "name": "sweep1", "method": "grid", "state": "RUNNING", "config": config, "description": ""}
    sweep |= {"createdAt": "2026-01-01T00:00:00", "heartbeatAt": None, "updatedAt": None, "earlyStopJobRunning": False}
    sweep |= {"bestLoss": None, "controller": None, "scheduler": None, "runs": {"edges": []}}
    return {"project": {"sweep": sweep}}


def _create_agent(_server: WandbServer, _given: dict[str, Any]) -> dict[str, Any]:
    return {"createAgent": {"agent": {"id": "agent1"}}}


def _heartbeat(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    """One point at a time; the agent ends after the last one."""
    busy = any(json.loads(given.get("runState") or "{}").values())
    commands: list[dict[str, Any]] = []
    if not busy and server.points:
        point = server.points.pop(0)
        args = {name: {"value": value} for name, value in point.items()}
        run_id = f"swept{len(server.points)}"
        commands = [{"type": "run", "run_id": run_id, "program": "cdeval.run", "args": args}]
    elif not busy:
        commands = [{"type": "exit"}]
    return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": json.dumps(commands)}}


def _viewer(_server: WandbServer, _given: dict[str, Any]) -> dict[str, Any]:
    viewer = {"id": "v", "entity": "me", "username": "me", "flags": "{}", "email": "", "admin": False, "name": "me"}
    return {"viewer": {**viewer, "teams": {"edges": []}}}


def _create_files(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    run = given.get("run") or given.get("runName") or "run"
    files = [{"name": name, "uploadUrl": f"{server.url}/upload/{run}/{name}"} for name in given.get("files") or []]
    return {"createRunFiles": {"runID": f"storage-{run}", "uploadHeaders": [], "files": files}}


def _features(_server: WandbServer, _given: dict[str, Any]) -> dict[str, Any]:
    return {"serverInfo": {"features": []}}


def _create_artifact(_server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    name = given["artifactCollectionName"]
    artifact = {"id": f"artifact-{name}", "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
    return {"createArtifact": {"artifact": artifact}}


def _manifest(server: WandbServer, given: dict[str, Any], field: str) -> dict[str, Any]:
    owner = given.get("artifactID") or given.get("artifactManifestID")
    file = {"id": "f", "uploadUrl": f"{server.url}/upload/{owner}/manifest", "uploadHeaders": []}
    return {field: {"artifactManifest": {"id": owner, "file": file}}}


def _artifact_files(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    nodes = [
        {
            "storagePath": f"stored/{one['name']}",
            "uploadUrl": f"{server.url}/upload/{one['artifactID']}/{one['name']}",
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "artifact": {"id": one["artifactID"]},
        }
        for one in given["artifactFiles"]
    ]
    return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}


def _commit(_server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "d"}}}


_FIELDS: dict[str, Any] = {
    "serverInfo": _features,
    "createArtifactManifest": lambda server, given: _manifest(server, given, "createArtifactManifest"),
    "updateArtifactManifest": lambda server, given: _manifest(server, given, "updateArtifactManifest"),
    "createArtifactFiles": _artifact_files,
    "commitArtifact": _commit,
    "createArtifact": _create_artifact,
    "upsertBucket": _upsert_bucket,
    "createAgent": _create_agent,
    "agentHeartbeat": _heartbeat,
    "createRunFiles": _create_files,
    "sweep": _sweep,
    "viewer": _viewer,
}


def _file_stream(server: WandbServer, run: str, sent: dict[str, Any]) -> None:
    rows, files = server.history.setdefault(run, []), sent.get("files") or {}
    chunk = files.get("wandb-history.jsonl")
    if chunk:
        del rows[chunk["offset"] :]
        rows += [json.loads(line) for line in chunk["content"]]
    summary = files.get("wandb-summary.json")
    if summary:
        server.summary[run] = json.loads(summary["content"][-1])
    if sent.get("complete"):
        server.exits[run] = sent.get("exitcode", 0)
    server.states.append((run, len(rows)))
