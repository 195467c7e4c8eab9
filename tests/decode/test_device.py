"""What a GPU needs of a step, shown without one: nothing is read back to the host, nothing is made elsewhere.

Fake tensors have shapes and no values: any `.item()`, `.tolist()` or truth value of one raises. Tensors on the meta
device stand for a device that is not the CPU.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Context, Normalizer, SearchKind
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.plausibility import Plausibility
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.decode import engine
from cdeval.decode.adaptive import AdaptiveExits
from cdeval.decode.amateurs.batch import Amateurs
from cdeval.decode.engine import _Run
from cdeval.decode.lanes import Lane
from cdeval.models.anatomy import dissect
from cdeval.models.exits import tap
from cdeval.models.lens import Translator, TunedLens
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import truncate
from tests.conftest import EVERY_RUN, build_model
from tests.decode.oracles import chosen_exit, early_exit, sampled, setting
from tests.decode.plausibility.definitions import CASES

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20)]
TRUNCATED = Amateur("truncated", 2, context=Context.generated)
MIXED = [early_exit(1), early_exit(3, alpha=0.01, beta=0.5), setting(), setting(amateur=TRUNCATED)]
TUNED = chosen_exit((2, 3), Lens.tuned, "a", selection=Selection.jsd)
CHOSEN = [
    setting(amateur=TUNED),
    setting(amateur=chosen_exit((1, 2), Lens.raw, selection=Selection.jsd)),
    *(
        setting(amateur=chosen_exit((1, 2, 3), selection=Selection.confidence, measure=measure, threshold=0.5))
        for measure in ConfidenceMeasure
    ),
    early_exit(2),
]
CANDIDATES = [replace(how, normalizer=Normalizer.candidates) for how in MIXED[:3]]
EVERYTHING = {"temperature": 1.2, "top_k": 30, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.9, "eta": 0.01}
SAMPLED = [sampled(), sampled(**EVERYTHING), *(sampled(how, **EVERYTHING) for how in MIXED)]
SAMPLED_CANDIDATES = [sampled(how, **EVERYTHING) for how in CANDIDATES[:2]]
SEARCHED = [setting(search=SearchKind.contrastive_search, beams=3, penalty=penalty) for penalty in (0.2, 0.6)]
EXITING = [
    replace(how, adaptive_exit=AdaptiveExit(measure, 0.5, 4.0, (2, 3)))
    for how in (early_exit(1), setting())
    for measure in ConfidenceMeasure
] + [setting()]
RULES = [Plausibility(name, tuple(settings.items())) for name, settings in CASES]
RULED = [early_exit(2, plausibility=rule) for rule in RULES] + [setting(plausibility=rule) for rule in RULES]
KINDS = {
    "rules": [*RULED, early_exit(1), setting()],
    "rules of candidates": [replace(how, normalizer=Normalizer.candidates) for how in RULED[: len(RULES)]],
    "full": MIXED,
    "candidates": CANDIDATES,
    "sampled": SAMPLED,
    "sampled candidates": SAMPLED_CANDIDATES,
    "contrastive search": SEARCHED,
    "chosen": CHOSEN,
    "exiting": EXITING,
}
RULED_KINDS = ("rules", "rules of candidates")
# What lenses, candidates and searches add to a step is the same for every architecture: nightly, others say so, too.
ALL = [
    pytest.param(
        name, lanes, id=f"{name}-{kind}", marks=[] if kind == "full" or name == "gpt2" else pytest.mark.nightly
    )
    for kind, lanes in KINDS.items()
    for name in (
        EVERY_RUN if kind == "full" else ["gpt2"] if kind in RULED_KINDS else ["gpt2", "llama", "opt_projected"]
    )
]


def wrapped(architecture: str, tokenizer: PreTrainedTokenizerFast, device: str) -> LanguageModel:
    """A tiny model without values: no fingerprint can be taken of it."""
    model = build_model(architecture)
    model.config.pad_token_id = None  # as gpt2's: with one, Hugging Face looks for it in the prompt, a read-back
    if device != "cpu":
        model.to(device)
    return LanguageModel("tiny", None, model, tokenizer, fingerprint="", parts=dissect(model, "tiny"))


def lens(device: torch.device) -> TunedLens:
    """A lens without values: no digest can be taken of it."""
    translators = {k: Translator(torch.zeros(32, 32, device=device), torch.zeros(32, device=device)) for k in (2, 3)}
    return TunedLens(translators, {}, "")


def begin(lm: LanguageModel, settings: list[Setting], steps: Callable[[_Run], None]) -> None:
    lanes = [Lane(prompt, how) for prompt in PROMPTS for how in settings]
    exits = Amateurs(lanes, lm, {TRUNCATED: truncate(lm, 2), TUNED: lens(lm.device)})
    adaptive = AdaptiveExits([lane.setting for lane in lanes], lm, {}, asks=False)
    with tap(lm.parts, exits.layers) as tapped, adaptive.hooked(), torch.inference_mode():
        with patch.object(engine, "ASKED_AT_EVERY_STEP", ()):  # the CPU, which need not wait for itself, is asked
            run = _Run(lm, lanes, exits, adaptive, tapped, candidate_head=exits.only_candidates)
        run.prefill([lane.prompt for lane in lanes])
        steps(run)


def three_steps(run: _Run) -> None:
    for _ in range(3):
        run.step()


@pytest.mark.long
@pytest.mark.parametrize("ban", [Ban.special, Ban.none])
@pytest.mark.parametrize(("architecture", "lanes"), ALL)
def test_a_step_reads_nothing_back(
    architecture: str, ban: Ban, lanes: list[Setting], tokenizer: PreTrainedTokenizerFast
) -> None:
    settings = [replace(how, ban=ban) for how in lanes]
    with FakeTensorMode():
        begin(wrapped(architecture, tokenizer, "cpu"), settings, three_steps)


def test_compaction_is_the_one_place_that_does(tokenizer: PreTrainedTokenizerFast) -> None:
    """And the test above can fail: the same run with a compaction raises."""

    def with_compaction(run: _Run) -> None:
        run.step()
        run.compact()

    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        begin(wrapped("llama", tokenizer, "cpu"), MIXED, with_compaction)


# torch makes the numbers in them tensors on the host and sends them to a GPU one by one, for which the host waits.
SENDING = {torch.ops.aten.where.Scalar, torch.ops.aten.where.ScalarSelf, torch.ops.aten.where.ScalarOther}


class Devices(TorchDispatchMode):
    """Notes the device of every tensor that any operation makes, and every number that one sends there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in SENDING:
            self.seen["sent as a number"] = str(func)
        for item in made if isinstance(made, tuple | list) else [made]:
            if isinstance(item, torch.Tensor):
                self.seen[item.device.type] = str(func)
        return made


@pytest.mark.parametrize(("architecture", "lanes"), ALL)
def test_a_step_makes_no_tensor_on_another_device(
    architecture: str, lanes: list[Setting], tokenizer: PreTrainedTokenizerFast
) -> None:
    lm = wrapped(architecture, tokenizer, "meta")

    def watched(run: _Run) -> None:
        with Devices() as devices:
            three_steps(run)
        assert set(devices.seen) == {"meta"}, devices.seen

    begin(lm, lanes, watched)
