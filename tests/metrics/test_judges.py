"""The models that score are found before anything is decoded, and a mistake names the setting that was wrong."""

from pathlib import Path

import pytest

from cdeval.config import MetricsConfig
from cdeval.errors import ModelError
from cdeval.metrics.judges import find_judges
from cdeval.metrics.suite import METRICS


@pytest.mark.parametrize("setting", ["scorer", "mauve_features", "embedder"])
def test_a_mistyped_model_is_named_by_its_own_setting(setting: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = MetricsConfig(embedder=str(tmp_path / "empty"))
    for name in ("./nowhere", str(tmp_path / "empty")):
        given = MetricsConfig(**{"embedder": "embedded:minilm", setting: name})
        only = {"scorer": "perplexity_expert", "mauve_features": "mauve", "embedder": "coherence"}[setting]
        with pytest.raises(ModelError) as refused:
            find_judges([only], given)
        assert "expert.name=./nowhere" not in str(refused.value)
        assert name in str(refused.value)
        if name == "./nowhere":
            assert f"metrics.{setting}={name}" in str(refused.value)
    assert find_judges(["words"], config) == {}, "what no metric needs is not looked for"
    assert "perplexity_expert" in METRICS
