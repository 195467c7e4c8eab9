"""Texts on a GPU against the CPU in float32: the same tokens and scores, whatever the search and the amateur."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from _pytest.mark import ParameterSet
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Ban, Compile, Dtype, SearchKind
from cdeval.config.schema import ExpertConfig
from cdeval.decode.engine import decode_batch
from cdeval.decode.forced import ReadText, likelihoods, scoring_setting
from cdeval.decode.lanes import Lane
from cdeval.errors import CdevalError
from cdeval.models.loading import LanguageModel, open_model
from tests.conftest import TINY
from tests.decode.oracles import early_exit, sampled, setting
from tests.decode.test_device import KINDS, RULED_KINDS
from tests.gpu.conftest import CALM, LINEAR, NGRAM, SMALL, Place, amateur_models, decoded, here

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]
GREEDY = {"search": SearchKind.greedy, "beams": 1}
# The batches of tests/decode/test_device.py, and what is no part of them: a small model, n-grams, and a linear lens.
BATCHES = {
    **KINDS,
    "small model": [setting(amateur=SMALL), setting(amateur=SMALL, temperature=0.5, alpha=0.3), setting()],
    "greedy": [early_exit(2, **GREEDY), setting(amateur=SMALL, **GREEDY), setting(**GREEDY)],
    "small model, sampled": [sampled(setting(amateur=SMALL), top_p=0.9)],
    "n-grams": [setting(amateur=NGRAM), setting(amateur=NGRAM, alpha=0.3), early_exit(2)],
    "linear lens": [setting(amateur=LINEAR), setting(amateur=LINEAR, alpha=0.01)],
    "early exits of the expert through a linear lens": [setting(adaptive_exit=CALM), early_exit(1, adaptive_exit=CALM)],
}
CLOSE = 1e-3  # [nats] of a text's score
REHEARSED = (
    "contrastive search",
    "early exits of the expert through a linear lens",
    "full",
    "greedy",
    "linear lens",
    "n-grams",
    "sampled",
    "small model",
)
IN_EVERY_FAMILY = ("full", "greedy", "small model")  # what else a step may hold is the same for every architecture


def cases() -> Iterator[ParameterSet]:
    for batch in sorted(BATCHES):
        ruled = batch in RULED_KINDS  # a score of rules, each sorting a vocabulary
        yield pytest.param("cpu", "gpt2", batch, marks=() if batch in REHEARSED else pytest.mark.nightly)
        some = TINY if batch in IN_EVERY_FAMILY else ("gpt2",) if ruled else ("gpt2", "llama", "opt_projected")
        for family in sorted(some):
            yield pytest.param("cuda", family, batch, marks=pytest.mark.gpu)


@pytest.mark.parametrize(("device", "family", "batch"), list(cases()))
def test_a_gpu_writes_the_texts_of_the_cpu(
    device: str, family: str, batch: str, tiny: Callable[[str], LanguageModel], tokenizer: PreTrainedTokenizerFast
) -> None:
    """Kills what depends on the device: a tensor left behind, an order of ties, another attention, random numbers."""
    place, lm = here(device), tiny(family)
    there = place.model(lm)
    for ban in (Ban.special, Ban.none):
        lanes = [
            Lane(prompt, replace(how, ban=ban), f"text-{row}")
            for row, prompt in enumerate(PROMPTS)
            for how in BATCHES[batch]
        ]
        expected = decoded(lm, lanes, amateur_models(lm, tokenizer))
        found = decoded(there, lanes, amateur_models(there, tokenizer))
        assert [one.token_ids for one in found] == [one.token_ids for one in expected]
        assert [one.ended for one in found] == [one.ended for one in expected]
        assert [one.exit_layers for one in found] == [one.exit_layers for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.score == pytest.approx(other.score, abs=CLOSE, nan_ok=True)
            assert one.logprob_expert == pytest.approx(other.logprob_expert, abs=CLOSE)


@pytest.mark.gpu
def test_a_gpu_writes_smollm2s_texts() -> None:
    """Thirty real blocks in float32: many more roundings, and tokens that are likely for a reason."""
    place = here("cuda")
    expert = ExpertConfig(name="embedded:smollm2", dtype=Dtype.float32)
    try:
        cpu = open_model(replace(expert, device="cpu")).load()
    except CdevalError as error:
        pytest.skip(f"the embedded model is not at hand: {error}")
    gpu = open_model(replace(expert, device=str(place.device))).load()
    prompts = [tuple(cpu.tokenizer(text).input_ids[:4]) for text in ("The weather in London", "He said that the")]
    for how in (setting(), early_exit(20), early_exit(20, **GREEDY), setting(**GREEDY), sampled(early_exit(20))):
        lanes = [Lane(prompt, replace(how, max_new_tokens=24), f"text-{i}") for i, prompt in enumerate(prompts)]
        expected, found = (decode_batch(lm, lanes, 8, compiling=Compile.never)[0] for lm in (cpu, gpu))
        assert [one.token_ids for one in found] == [one.token_ids for one in expected]
        assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=0.05)


BFLOAT16 = {
    "beam": [setting(), early_exit(2, alpha=0.3), setting(amateur=SMALL, alpha=0.3)],
    "greedy": [setting(**GREEDY), early_exit(2, alpha=0.3, **GREEDY), setting(amateur=SMALL, alpha=0.3, **GREEDY)],
    "sampled": [sampled(), sampled(early_exit(2, alpha=0.3), top_p=0.95)],
}


@pytest.mark.parametrize("batch", sorted(BFLOAT16))
def test_bfloat16_is_finite_the_same_in_every_run_and_close(
    place: Place, batch: str, tiny: Callable[[str], LanguageModel], tokenizer: PreTrainedTokenizerFast
) -> None:
    """Its texts may be others than those of float32, and what it says of them is what float32 says of them."""
    exact = tiny("llama")
    rounded = place.model(exact, torch.bfloat16)
    models = amateur_models(rounded, tokenizer)
    lanes = [Lane(prompt, how, f"text-{i}") for i, prompt in enumerate(PROMPTS) for how in BFLOAT16[batch]]
    found = decoded(rounded, lanes, models)
    assert decoded(rounded, lanes, models) == found
    assert all(one.fault is None and len(one.token_ids) == 12 for one in found)
    alone = scoring_setting(setting(), contrast=False)
    texts = [ReadText(lane.prompt, one.token_ids) for lane, one in zip(lanes, found, strict=True)]
    read = dict(likelihoods(exact, texts, alone, {}, len(texts)))
    for row, one in enumerate(found):
        assert one.logprob_expert == pytest.approx(read[row].log_p, abs=12 * 0.1), "a tenth of a nat a token"
