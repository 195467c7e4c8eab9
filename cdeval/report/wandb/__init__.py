"""W&B as a mirror of a finished study, one run a point and one for the study, in one group. The files stay the truth.

Everything is mirrored offline first, into `wandb` of each run folder and of the study; `mode=online` then sends the
mirrors. The network thus decides only whether they are sent now or later. (Measured with wandb 0.31: without a network,
an online `wandb.init` blocks for 100 s.)
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from cdeval.config.enums import WandbMode
from cdeval.config.schema import TrackingConfig
from cdeval.records import Generation
from cdeval.report.wandb.mirror import Mirrored, WandbTable, write_mirror
from cdeval.report.wandb.sending import reach_server, reason, send

__all__ = ["Mirrored", "WandbTable", "point_run", "track"]

_COLUMNS = ("id", "sample", "prompt", "continuation", "reference", "tokens", "logprob_expert_nats", "score_nats")


def point_run(
    study: str,
    label: str,
    folder: Path,
    *,
    config: Mapping[str, object],
    summary: Mapping[str, float],
    texts: Sequence[Generation],
) -> Mirrored:
    """The W&B run of a point: its settings, its numbers and all of its texts."""
    rows = [
        [
            *(one.id, one.sample, one.prompt, one.continuation, one.reference),
            *(len(one.token_ids), one.logprob_expert, one.score),
        ]
        for one in texts
    ]
    return Mirrored(study, label, "point", folder, config, summary, {"continuations": WandbTable(_COLUMNS, rows)})


def track(config: TrackingConfig, root: Path, runs: Sequence[Mirrored]) -> list[str]:
    """Mirror the runs of a study to W&B. Never raises: whatever fails, the results are on disk already.

    Args:
        config: whether they are sent, and where to.
        root: the study's folder; the mirrors are in it or in folders of it.
        runs: what to mirror.

    Returns: a line for each run that has no mirror, and one line if mirrors were not sent, which says how to send them
        later.
    """
    problems, written = [], []
    for run in runs:
        try:
            write_mirror(config, run)
            written.append(run)
        except Exception as error:
            problems.append(
                f"W&B has no copy of {run.name} ({reason(error)}); its results are complete in {run.folder}."
            )
    if config.mode is WandbMode.online and written:
        problems += _sent(root, written)
    return problems


def _sent(root: Path, runs: Sequence[Mirrored]) -> list[str]:
    """Send the mirrors, until one fails: what stops one of them, a network or a key, stops the others, too."""
    left = list(runs)
    try:
        reach_server()
        while left:
            send(left[0].mirror)
            left.pop(0)
    except Exception as error:
        folders = [shlex.quote(str(run.mirror)) for run in left]
        if len(left) > 2 and len(left) == len(runs):  # the shell names them in less space
            folders = [shlex.quote(str(run.mirror)) for run in left if run.folder == root]
            folders.append(f"{shlex.quote(str(root))}/*/wandb")
        what = left[0].name if len(left) == 1 else f"{len(left)} runs of {left[0].study}"
        return [f"W&B has not received {what} ({reason(error)}); to send later: wandb sync {' '.join(folders)}"]
    return []
