"""Exit layers against Hugging Face's own hidden states and heads, and what is refused by name."""

from collections.abc import Callable

import pytest
import torch
from transformers import BloomConfig, PretrainedConfig, Qwen2Config

from cdeval.errors import ModelError
from cdeval.models.anatomy import anatomy_of, check_length
from cdeval.models.exits import tap
from cdeval.models.loading import LanguageModel
from tests.conftest import build_model

IDS = torch.tensor([[5, 17, 40, 8]])


@torch.inference_mode()
def test_an_exit_after_the_last_block_is_the_model_itself(every_tiny: LanguageModel) -> None:
    """Norm applied exactly once: `hidden_states[-1]` is already normed, so indexing it would norm twice."""
    parts = every_tiny.parts
    with tap(parts, [parts.depth]) as tapped:
        logits = every_tiny.model(IDS).logits
        exit_logits = parts.logits(parts.finish(tapped[parts.depth]))
    torch.testing.assert_close(exit_logits, logits)


@torch.inference_mode()
def test_an_exit_after_k_blocks_is_the_model_cut_there(every_tiny: LanguageModel) -> None:
    """The first k blocks as a model of their own: the same weights in a shallower model."""
    architecture = every_tiny.name.removeprefix("tiny ")
    parts, layer = every_tiny.parts, 2
    with tap(parts, [layer]) as tapped:
        every_tiny.model(IDS)
        exit_logits = parts.logits(parts.finish(tapped[layer]))
    depth = {"n_layer": layer} if architecture == "gpt2" else {"num_hidden_layers": layer}
    if hasattr(every_tiny.model.config, "layer_types"):
        depth["layer_types"] = every_tiny.model.config.layer_types[:layer]
    shallow = build_model(architecture, **depth)
    missing, unexpected = shallow.load_state_dict(every_tiny.model.state_dict(), strict=False)
    assert not missing
    assert all(any(f".{block}." in name for block in (2, 3)) for name in unexpected)
    torch.testing.assert_close(exit_logits, shallow(IDS).logits)


def test_hooks_see_only_their_own_block(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    with torch.inference_mode():
        states = lm.model(IDS, output_hidden_states=True).hidden_states  # leaves hooks of its own behind
    hooks = [len(block._forward_hooks) for block in lm.parts.blocks]
    with tap(lm.parts, [1, 3, 1]) as tapped, torch.inference_mode():
        lm.model(IDS)
        assert set(tapped) == {1, 3}
        assert torch.equal(tapped[1], states[1])
        assert torch.equal(tapped[3], states[3])
    assert [len(block._forward_hooks) for block in lm.parts.blocks] == hooks


def test_an_unknown_architecture_is_refused_by_name_with_what_to_add() -> None:
    with pytest.raises(ModelError, match=r"'bloom'.*Known: gemma.*ANATOMIES"):
        anatomy_of(BloomConfig(), "some-bloom")


def test_texts_fit_the_context_and_the_sliding_window() -> None:
    with pytest.raises(ModelError, match=r"32 prompt tokens \+ 128 new tokens = 160 exceed.*159"):
        check_length(PretrainedConfig(max_position_embeddings=159), 32, 128, "model")
    check_length(PretrainedConfig(max_position_embeddings=160), 32, 128, "model")
    windowed = Qwen2Config(use_sliding_window=True, sliding_window=100, max_window_layers=0)
    with pytest.raises(ModelError, match="sliding window of 100"):
        check_length(windowed, 32, 128, "model")
    check_length(Qwen2Config(use_sliding_window=False, sliding_window=100), 32, 128, "model")
