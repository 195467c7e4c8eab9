"""The models that score are found before anything is decoded, and a mistake names the setting that was wrong."""

from pathlib import Path

import pytest
import torch
from transformers import GPTJConfig, GPTJForCausalLM

from cdeval.config.metrics import METRICS, Need
from cdeval.config.schema import ExpertConfig, MetricsConfig
from cdeval.errors import ModelError
from cdeval.metrics.judges.likelihood import nll_rows
from cdeval.metrics.judges.opening import find_judges, open_judges
from cdeval.metrics.judges.scorer import TextReader
from cdeval.models.loading import open_model
from cdeval.records import Generation
from tests.conftest import build_tokenizer


@pytest.mark.parametrize("setting", ["scorer", "mauve_features", "embedder"])
def test_a_mistyped_model_is_named_by_its_own_setting(setting: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = MetricsConfig(embedder=str(tmp_path / "empty"))
    for name in ("./nowhere", str(tmp_path / "empty")):
        given = MetricsConfig(**{"embedder": "embedded:minilm", setting: name})
        only = {"scorer": "perplexity_expert", "mauve_features": "mauve", "embedder": "coherence"}[setting]
        with pytest.raises(ModelError) as refused:
            find_judges(METRICS[only].needs, given)
        assert "expert.name=./nowhere" not in str(refused.value)
        assert name in str(refused.value)
        if name == "./nowhere":
            assert f"metrics.{setting}={name}" in str(refused.value)
    assert find_judges(METRICS["words"].needs, config) == {}, "what no metric needs is not looked for"


def test_a_scorer_needs_no_known_anatomy(tmp_path: Path) -> None:
    """It reads whole texts: where its blocks and norms are is the engine's business."""
    tokenizer = build_tokenizer()
    shape = GPTJConfig(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, rotary_dim=8, n_positions=128)
    GPTJForCausalLM(shape).eval().save_pretrained(tmp_path / "gptj")
    tokenizer.save_pretrained(tmp_path / "gptj")
    name = str(tmp_path / "gptj")
    with pytest.raises(ModelError, match="which cdeval does not know"):
        open_model(ExpertConfig(name=name))
    config = MetricsConfig(scorer=name, mauve_features=name, cache=False)
    judges = open_judges({Need.scorer, Need.featurizer}, config, None, tmp_path, wrote=None)
    text = Generation("a", "The quick brown", (), None, " fox jumps over", (), None, None)
    assert judges.likelihood is not None
    read = TextReader(judges.likelihood, retokenise=True)
    rows = nll_rows(read.scorer, read.read([text]), judges.cache)
    ids = tokenizer(text.prompt + text.continuation, return_tensors="pt")["input_ids"]
    prompt = len(tokenizer(text.prompt)["input_ids"])
    with torch.inference_mode():
        log_p = GPTJForCausalLM.from_pretrained(name).eval()(ids).logits[0].float().log_softmax(-1)
    expected = -sum(float(log_p[at - 1, ids[0, at]]) for at in range(prompt, ids.shape[1]))
    assert rows[0, 0] == pytest.approx(expected, rel=1e-2 if judges.likelihood.model.dtype == torch.bfloat16 else 1e-4)
    assert rows[0, 1] == ids.shape[1] - prompt


def test_a_revision_of_a_folder_is_refused_by_the_setting_that_names_it(tmp_path: Path) -> None:
    """A folder has one state, and asking for another one was ignored."""
    build_tokenizer().save_pretrained(tmp_path)
    GPTJConfig(n_embd=32, n_layer=2, n_head=2, rotary_dim=8).save_pretrained(tmp_path)
    for setting, revised in (("expert.name", "expert.revision=main"), ("amateur.name", "amateur.revision=main")):
        with pytest.raises(ModelError, match=revised):
            open_model(ExpertConfig(name=str(tmp_path), revision="main"), setting, decodes=False)
