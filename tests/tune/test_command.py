"""The line that `cdeval.tune` prints: what of the words that were typed a study of the chosen arms would read."""

from pathlib import Path

import pytest

from cdeval.tune.config import TuneRun
from cdeval.tune.pipeline import _command


@pytest.mark.parametrize(
    "own",
    [
        "+tune=mine",
        "tune=mine",
        "arms=[min_p]",
        "settings=3",
        "criterion=mauve",
        "++at_least={coherence:0.5}",
        "+spaces.mine=x",
        "tune_on_test=true",
        "prompts.split=all",
        "study=first",
    ],
)
def test_what_is_tunings_own_is_left_out(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study has no such settings, or would read the texts again that the arms were chosen by."""
    monkeypatch.setattr("sys.argv", ["tune", "+preset=families", own, "prompts.limit=20"])
    line = _command(TuneRun(study="first"), Path("runs/first"))
    assert line == (
        "python -m cdeval.run --config-dir runs/first/chosen +sweep=first_chosen +preset=families prompts.limit=20"
    )


@pytest.mark.parametrize("kept", ["tracking.mode=online", "search.max_new_tokens=8", "+preset=study_tuning"])
def test_what_a_study_reads_is_typed_again(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting's name may begin as one of tuning's does."""
    monkeypatch.setattr("sys.argv", ["tune", kept])
    assert _command(TuneRun(study="first"), Path("runs/first")).endswith(f" +sweep=first_chosen {kept}")
