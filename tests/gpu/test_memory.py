"""What a batch takes against what is reckoned, what is free, and what happens when memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Compile
from cdeval.cost.capacity import SHARE, free_bytes, lane_bytes
from cdeval.cost.memory import WorkingMemory, slot_bytes
from cdeval.decode import engine
from cdeval.decode.batches import decode
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel, language_model
from tests.conftest import build_model
from tests.decode.oracles import early_exit
from tests.gpu.conftest import Place, decoded, here

# A GPU's memory is handed out in blocks of 20 MB: a batch must take many of them.
LANES = {"cpu": 24, "cuda": 512}
TOKENS = 16


@pytest.fixture
def middling(place: Place, tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """A model whose lanes take a megabyte each, so that a batch stands out of an allocator's blocks."""
    sizes = {"hidden_size": 64, "num_key_value_heads": 4, "num_hidden_layers": 8, "vocab_size": 4096}
    model = build_model("llama", **sizes).to(place.device)
    return language_model(model, tokenizer, "middling llama", weights="middling")


def lanes(lm: LanguageModel, number: int | None = None) -> list[Lane]:
    count = number or LANES[lm.device.type]
    return [Lane((5 + place, 17, 40, 8), early_exit(4, max_new_tokens=TOKENS)) for place in range(count)]


def test_a_batch_takes_what_is_reckoned(middling: LanguageModel) -> None:
    """`max_lanes=auto` takes a share of what is free; a batch that takes more than that runs out of memory."""
    decoded(middling, lanes(middling))
    with WorkingMemory(middling.device) as working:
        decoded(middling, lanes(middling))
    count = LANES[middling.device.type]
    reckoned = count * lane_bytes(middling, 5, 4 + TOKENS, 4)
    least = count * (4 + TOKENS) * slot_bytes(middling)  # one text's keys and values
    assert least < working.bytes < reckoned / SHARE
    assert working.bytes > reckoned / 8, "a GPU seven eighths empty"


@pytest.mark.gpu
def test_what_is_taken_is_no_longer_free() -> None:
    """And what torch keeps for later counts as free, as the next batch may have it."""
    device = here("cuda").device
    before = free_bytes(device)
    hog = torch.ones(1 << 28, dtype=torch.uint8, device=device)
    assert before - free_bytes(device) > hog.nbytes / 2
    del hog
    assert free_bytes(device) > before - (1 << 27)


@contextmanager
def memory_for(part: float, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So little memory that a batch of all lanes does not fit, and one of `part` of them does.

    A GPU is given a limit and runs out of it by itself. A CPU is said to have run out.
    """
    if lm.device.type != "cuda":
        most, step = int(part * LANES[lm.device.type]), engine._Run.step

        def scarce(run: engine._Run) -> None:
            if len(run._totals) > most:
                raise torch.OutOfMemoryError("CUDA out of memory, in the words of torch")
            step(run)

        monkeypatch.setattr(engine._Run, "step", scarce)
        yield
        return
    decoded(lm, lanes(lm, 1))  # what stays, such as workspaces of matrix products, is there before
    with WorkingMemory(lm.device) as all_of_them:
        decoded(lm, lanes(lm))
    torch.cuda.empty_cache()
    held, total = torch.cuda.memory_reserved(lm.device), torch.cuda.get_device_properties(lm.device).total_memory
    torch.cuda.set_per_process_memory_fraction((held + part * all_of_them.bytes) / total, lm.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, lm.device)


def test_a_batch_that_runs_out_of_memory_is_halved(middling: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts are those of enough memory, each once, and progress ends where it would have ended."""
    together = lanes(middling)
    count = len(together)
    expected = [one.token_ids for one in decoded(middling, together)]
    gained: list[int] = []
    said: list[str] = []
    found: dict[int, tuple[int, ...]] = {}
    with memory_for(0.7, middling, monkeypatch):
        batches = decode(
            middling,
            together,
            max_lanes=count,
            compact_every=4,
            compiling=Compile.never,
            on_step=gained.append,
            say=said.append,
        )
        for batch in batches:
            assert not found.keys() & set(batch.lanes)
            found |= zip(batch.lanes, (one.token_ids for one in batch.continuations), strict=True)
    assert said[0] == f"out of memory with {count} lanes at once: going on with execution.max_lanes={count // 2}"
    assert [found[place] for place in range(count)] == expected
    assert sum(gained) == count * TOKENS
