"""What a calibration says of how its threshold is used."""

import dataclasses
import math

from cdeval.calibrate.config import CalibrateRun
from cdeval.calibrate.pipeline import _verdict
from cdeval.config.exits import ConfidenceMeasure
from cdeval.config.setting import AdaptiveExit
from cdeval.records import ThresholdScore


def test_the_line_to_type_reads_the_exits_as_they_were_calibrated() -> None:
    """Kills: a lens, or the texts it is fitted to, that is left out; the threshold would hold for other texts."""
    numbers = {field.name: math.nan for field in dataclasses.fields(ThresholdScore)}
    scores = [ThresholdScore(**{**numbers, "threshold": 0.5, "accepted": True})]  # type: ignore[arg-type]
    plain = AdaptiveExit(ConfidenceMeasure.softmax, 0.5, 4.0, (2, 4))
    own = dataclasses.replace(plain, linear=True, lens_texts="own.jsonl")
    assert "lens" not in _verdict(CalibrateRun(), plain, scores, 60, 0.5)[-1]
    assert _verdict(CalibrateRun(), own, scores, 60, 0.5)[-1].endswith(
        "search.adaptive_exit.lens=linear search.adaptive_exit.lens_texts=own.jsonl"
    )
