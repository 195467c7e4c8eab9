"""Tell a tracker of a finished study: written to disk first, then sent where that is asked for. Never at its cost."""

import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cdeval.config.enums import Tracker
from cdeval.records import Generation
from cdeval.report.measures import ways
from cdeval.report.tracking.given import SweepRun, Target
from cdeval.report.tracking.live import Live
from cdeval.report.tracking.mirror import write_mirror
from cdeval.report.tracking.runs import Mirrored, WandbTable
from cdeval.report.tracking.sending import Sending, reach_server, reason

_COLUMNS = ("id", "sample", "prompt", "continuation", "reference", "tokens", "logprob_expert_nats", "score_nats")


def point_run(  # noqa: PLR0913 - named arguments, most with a default
    study: str,
    label: str,
    folder: Path,
    *,
    config: Mapping[str, object],
    summary: Mapping[str, float] | None = None,
    texts: Sequence[Generation] = (),
    digest: str = "",
    tags: Sequence[str] = (),
    given: SweepRun | None = None,
) -> Mirrored:
    """The run of a point: its settings, its numbers and all of its texts; before it is decoded, its settings alone."""
    rows = [
        [
            *(one.id, one.sample, one.prompt, one.continuation, one.reference),
            *(len(one.token_ids), one.logprob_expert, one.score),
        ]
        for one in texts
    ]
    numbers = summary or {}
    return Mirrored(
        study=study,
        label=label,
        kind="point",
        folder=folder,
        config={**config, **(given.parameters if given else {})},
        summary=numbers,
        tables={"continuations": WandbTable(_COLUMNS, rows)} if rows else {},
        digest=digest,
        better={name: way for name, way in ways().items() if name in numbers},
        tags=tags,
        given=given,
    )


def track(target: Target, root: Path, runs: Sequence[Mirrored], live: Live | None = None) -> list[str]:
    """Mirror the runs of a study. Never raises: whatever fails, the results are on disk already.

    Args:
        target: the tracker, whether they are sent, and where to.
        root: the study's folder; the mirrors are in it or in folders of it.
        runs: what to mirror.
        live: shows some of them already, and ends here.

    Returns: a line for each run that has no mirror, and one line if mirrors were not sent, which says how to send them
        later.
    """
    if target.kind is Tracker.trackio:
        return _kept_here(target, root, runs, live)
    written = live.fill(runs) if live is not None else []
    sending = live.take_sending() if live is not None else None
    there = {run.id for run in written}
    going = there if sending is not None else set()
    try:
        if target.online and sending is None:
            sending = Sending()  # wandb is imported there while the mirrors are written here
    except OSError as error:
        return [f"W&B has not received {runs[0].study} ({reason(error)}); its results are complete in {root}."]
    problems = []
    for run in runs:
        if run.id in there:
            continue
        try:
            write_mirror(target, run)
            written.append(run)
        except Exception as error:
            problems.append(
                f"W&B has no copy of {run.name} ({reason(error)}); its results are complete in {run.folder}."
            )
    if sending is not None:
        problems += _sent(root, written, sending, going)
    if live is not None:
        live.end()
    return problems


def _sent(root: Path, runs: Sequence[Mirrored], sending: Sending, going: Collection[str]) -> list[str]:
    """Send mirrors until the first failure: what stops one of them, a network or a key, stops the others, too.

    Args:
        root: the study's folder.
        runs: whose mirrors are to be sent.
        sending: sends them, and ends here.
        going: ids of the runs that are on their way.
    """
    began = time.monotonic()
    try:
        if not going:
            reach_server()
        sending.send([run.mirror for run in runs if run.id not in going], live=False)
        sending.wait(time.monotonic() - began)
    except Exception as error:
        sending.end(sent=False)
        left = [run for run in runs if not list(run.mirror.glob("*/*.synced"))]
        return [_later(root, runs, left, error)] if left else []
    sending.end(sent=True)
    return []


def _later(root: Path, runs: Sequence[Mirrored], left: Sequence[Mirrored], error: Exception) -> str:
    folders = [shlex.quote(str(run.mirror)) for run in left]
    if len(left) > 2 and len(left) == len(runs):  # the shell names them in less space
        folders = [shlex.quote(str(run.mirror)) for run in left if run.folder == root]
        folders.append(f"{shlex.quote(str(root))}/*/wandb")
    what = left[0].name if len(left) == 1 else f"{len(left)} runs of {left[0].study}"
    return f"W&B has not received {what} ({reason(error)}); to send later: wandb sync {' '.join(folders)}"


def _kept_here(target: Target, root: Path, runs: Sequence[Mirrored], live: Live | None) -> list[str]:
    """Write the runs of trackio, which sends nothing."""
    problems: list[str] = []
    if live is None:
        live = Live(target, root, problems.append)
    live.begin(runs, {}, 0)
    written = live.fill(runs)
    live.end()
    there = {run.id for run in written}
    missing = [run.name for run in runs if run.id not in there]
    if missing and not problems:
        problems.append(f"trackio has no copy of {', '.join(missing)}; all results are complete in the run folders.")
    return problems
