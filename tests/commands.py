"""`python -m cdeval.run` as tests type it: on a tiny checkpoint and three texts."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TEXTS = [
    "The quick brown fox jumps over the lazy dog and runs into the forest near the old river. " * 3,
    "Researchers said on Monday that the results of the study were not yet clear to them at all. " * 3,
    "A small model writes what a large model would rather not say, and that is the whole point. " * 3,
]
SMALL = ["search.max_new_tokens=8", "metrics.bootstrap_draws=100", "cost.latency_repeats=1", "amateur.layer=6"]


def cdeval(arguments: Sequence[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m cdeval.run` in a folder of its own, with every warning shown."""
    return subprocess.run(
        [sys.executable, "-m", "cdeval.run", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def on(folder: Path, prompts: Path, *more: str) -> list[str]:
    return [f"expert.name={folder}", "prompts=file", f"prompts.path={prompts}", *SMALL, *more]


def folders(study: Path) -> dict[str, Path]:
    return {path.parent.name.split("-")[0]: path.parent for path in study.glob("*/generations.jsonl")}
