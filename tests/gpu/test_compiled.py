"""Steps that are compiled, and replayed by a GPU as one graph: the eager engine's texts on the same device."""

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
from _pytest.mark import ParameterSet
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Compile
from cdeval.decode import fixed_cache
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.loading import LanguageModel
from tests.decode.compiling import check_equal, recording
from tests.gpu.conftest import amateur_models, here
from tests.gpu.test_texts import BATCHES, IN_EVERY_FAMILY, PROMPTS


def cases() -> Iterator[ParameterSet]:
    for batch in sorted(BATCHES):
        yield pytest.param("cpu", "gpt2", batch, marks=() if batch == "full" else pytest.mark.nightly)
        # A program takes torch some seconds to make, and each case needs two or three.
        for family in ("gpt2", "llama", "gemma3_text") if batch in IN_EVERY_FAMILY else ("gpt2",):
            yield pytest.param("cuda", family, batch, marks=pytest.mark.gpu)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("device", "family", "batch"), list(cases()))
def test_a_gpu_replays_the_eager_texts(
    device: str,
    family: str,
    batch: str,
    tiny: Callable[[str], LanguageModel],
    tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compiled by inductor and replayed, in float32, over several buckets; the CPU rehearses by replaying operators."""
    place = here(device)
    lm = place.model(tiny(family))
    models = amateur_models(lm, tokenizer)
    lanes = [Lane(prompt, how, f"text-{row}") for row, prompt in enumerate(PROMPTS) for how in BATCHES[batch]]

    def decoded(compiling: Compile) -> list[Continuation]:
        return decode_batch(lm, lanes, 4, amateur_models=models, compiling=compiling)[0]

    expected = decoded(Compile.never)
    if device == "cpu":
        with recording():
            check_equal(expected, decoded(Compile.always))
        return
    monkeypatch.setattr(fixed_cache, "BUCKET", 32)
    # torch does not trace the checks of annotated shapes, which only tests make.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    check_equal(expected, decoded(Compile.always))
    check_equal(expected, decoded(Compile.auto))
