"""`python -m cdeval.report.tracking.sender` sends mirrors to the user's W&B server and says how far it is.

A process of its own, which can be given up. It reads orders from its standard input, one line of JSON each, and answers
in lines of JSON: `ready` once it can begin; and of an order, by its number, `moved` whenever the server has taken
something in, `waiting` for whether there is nothing to send at this moment, `files` for whether only files are left,
`trouble` for what the server answers meanwhile, and `done` at the end. It does what `wandb beta sync` does, whose lines
do not tell a server that takes its time from one that hangs.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cdeval.report.tracking.child import answering, orders

_POLL = 0.2  # seconds between two looks at what is being sent
_WAITING = "waiting for more data"  # what wandb calls a mirror that is still being written
_FILES = "uploading artifact"  # and what wandb calls the one task that is not small
_ERROR = 40  # severity of wandb's messages


def main() -> None:
    """Send what is ordered until there are no more orders; at once over where whoever gives them has died."""
    with answering() as tell:
        import wandb.sdk.wandb_setup  # noqa: F401, PLC0415 - takes a second, and its prints are nobody's answers

        tell({"ready": True})
        threads: list[threading.Thread] = []
        for order in orders():
            if order.get("end"):
                for thread in threads:
                    thread.join()
                return
            threads.append(threading.Thread(target=_obey, args=(order, tell), daemon=True))
            threads[-1].start()
        os._exit(1)


def _obey(order: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], None]) -> None:
    mirrors = [path for folder in order["mirrors"] for path in Path(folder).resolve().glob("offline-run-*/*.wandb")]
    try:
        problem = _send(mirrors, order["live"], lambda fact: tell({**fact, "number": order["number"]}))
    except Exception as error:  # whatever wandb raises: the mirrors are on disk, and can be sent later
        problem = f"{type(error).__name__}: {error}"
    if problem:  # wandb marks as sent what the server refused, and would leave it out later
        for mirror in mirrors:
            mirror.with_name(f"{mirror.name}.synced").unlink(missing_ok=True)
    tell({"done": True, "number": order["number"], "problem": problem})


def _send(mirrors: Sequence[Path], live: bool, tell: Callable[[Mapping[str, Any]], None]) -> str:
    """Send mirrors. Returns: what the server refused; empty: nothing."""
    # Not at the top: the answers are to begin before wandb is imported, which takes a second.
    from wandb.sdk import wandb_setup  # noqa: PLC0415
    from wandb.sdk.lib import wbauth  # noqa: PLC0415

    session = wandb_setup.singleton()
    if not wbauth.authenticate_session(host=session.settings.base_url, source="cdeval", no_offline=True):
        return "No API key configured."
    service = session.ensure_service()
    errors: list[str] = []

    async def follow() -> None:
        begun = await service.init_sync(
            set(mirrors),
            session.settings,
            cwd=None,
            live=live,
            entity="",
            project="",
            run_id="",
            job_type="",
            tag_replacements={},
        )
        name = (await begun.wait_async(timeout=5)).id
        handle = await service.sync(name, parallelism=len(mirrors))
        done = asyncio.ensure_future(handle.wait_async(timeout=None))
        watch = _Watch(tell)
        while not done.done():
            await asyncio.wait({done}, timeout=_POLL)
            status = await (await service.sync_status(name)).wait_async(timeout=None)
            watch.look(status.stats)
            errors.extend(message.content for message in status.new_messages if message.severity >= _ERROR)
        errors.extend(message.content for message in done.result().messages if message.severity >= _ERROR)

    session.asyncer.run(follow)
    return errors[0] if errors else ""


class _Watch:
    """Compares what is being sent with what was being sent before."""

    def __init__(self, tell: Callable[[Mapping[str, Any]], None]) -> None:
        self._tell = tell
        self._before: dict[tuple[str, ...], tuple[str, float]] = {}
        self._said: dict[str, Any] = {}

    def look(self, stats: Sequence[Any]) -> None:
        """Tell what has changed: the server has moved where a task is over or further on, not where one begins."""
        busy = [(group.label, task) for group in stats for task in group.operations if task.desc != _WAITING]
        now = {
            (label, task.desc, *([part.desc] if part is not task else [])): (part.progress, part.runtime_seconds)
            for label, task in busy
            for part in (task, *task.subtasks)
        }
        same = all(
            name in now and progress == now[name][0] and seconds <= now[name][1]
            for name, (progress, seconds) in self._before.items()
        )
        self._before = now
        if not same:
            self._tell({"moved": True})
        parts = [part for _, task in busy for part in (task, *task.subtasks)]
        facts = {
            "waiting": not busy,
            "files": bool(busy) and all(task.desc.startswith(_FILES) for _, task in busy),
            "trouble": next((part.error_status for part in parts if part.error_status), ""),
        }
        changed = {name: value for name, value in facts.items() if self._said.get(name) != value}
        self._said |= changed
        if changed:
            self._tell(changed)


if __name__ == "__main__":
    main()
    sys.exit(0)
