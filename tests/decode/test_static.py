"""Compiled steps against the eager engine: the same texts, no graph break, one program a bucket."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Compile, Context, Normalizer, Pool, SearchKind
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.plausibility import Plausibility
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.config.token_weight import Gate, TokenWeight, Weight
from cdeval.decode import engine, static
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.amateurs.ngram import Ngrams
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.decode.watch import Watch
from cdeval.errors import ConfigError, ModelError
from cdeval.models.lens import Translator, tuned_lens
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.noise import with_noise
from cdeval.models.truncate import truncate, without_blocks
from tests.conftest import VOCAB, build_model, each_night
from tests.decode.amateurs.test_masked_heads import AMATEUR as MASKED
from tests.decode.amateurs.test_masked_heads import HEADS
from tests.decode.amateurs.test_masked_heads import loaded as without_given_heads
from tests.decode.compiling import Counted, Recording, both, check_equal, counting, recording
from tests.decode.oracles import chosen_exit, early_exit, sampled, setting
from tests.decode.test_device import EVERYTHING, RULES
from tests.plugged import plugged

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20)]
GREEDY = {"search": SearchKind.greedy, "beams": 1}

SMALL = Amateur("model", name="tiny small")
AMATEURS: dict[str, Amateur] = {
    "none": Amateur(),
    "exit": Amateur("early_exit", 2),
    "exit, raw": Amateur("early_exit", 2, lens=Lens.raw),
    "exit, tuned": Amateur("early_exit", 2, lens=Lens.tuned, lens_file="tiny"),
    "exit, linear": Amateur("early_exit", 2, lens=Lens.linear, lens_texts="tiny"),
    "jsd (DoLa)": chosen_exit((1, 2, 3), selection=Selection.jsd),
    "jsd (DoLa), raw": chosen_exit((1, 2, 3), Lens.raw, selection=Selection.jsd),
    "jsd (DoLa), tuned": chosen_exit((2, 3), Lens.tuned, "tiny", selection=Selection.jsd),
    "sled": chosen_exit((1, 2, 3), selection=Selection.sled, sled_tokens=5),
    "softmax": chosen_exit((1, 2, 3), selection=Selection.confidence, measure=ConfidenceMeasure.softmax, threshold=0.5),
    "saturation": chosen_exit(
        (1, 2, 3), selection=Selection.confidence, measure=ConfidenceMeasure.saturation, threshold=0.5
    ),
    "saturation, tuned": chosen_exit(
        (2, 3), Lens.tuned, "tiny", selection=Selection.confidence, measure=ConfidenceMeasure.saturation, threshold=0.5
    ),
    "model": SMALL,
    "truncated": Amateur("truncated", 2),
    "pruned": Amateur("pruned", settings=(("left_out", (2,)),)),
    "masked heads": MASKED,
    "context": Amateur("context", context=Context.generated),
    "noise": Amateur("noise", settings=(("bits", 4), ("dropout", 0.0))),
    "n-grams": Amateur("ngram", order=3),
}
SEARCHES: dict[str, Callable[..., Setting]] = {
    "beam": lambda how: how,
    "beam, local pool": lambda how: replace(how, pool=Pool.local),
    "beam, ending": lambda how: replace(how, ban=Ban.none),
    "greedy": lambda how: replace(how, **GREEDY),
    "greedy, ending": lambda how: replace(how, ban=Ban.none, **GREEDY),
    "sample": sampled,
    "sample, all cuts": lambda how: sampled(how, **EVERYTHING),
    "sample, ending": lambda how: replace(sampled(how), ban=Ban.none),
}


@pytest.fixture(scope="module")
def small(tokenizer: Any) -> Callable[[str], LanguageModel]:
    """Three blocks: what torch takes to trace a step grows with them."""
    built: dict[str, LanguageModel] = {}

    def get(family: str) -> LanguageModel:
        if family not in built:
            depth = {"n_layer": 4} if family == "gpt2" else {"num_hidden_layers": 4}
            built[family] = language_model(build_model(family, **depth), tokenizer, f"tiny {family}")
        return built[family]

    return get


def loaded(lm: LanguageModel) -> dict[Amateur, AmateurModel]:
    """What the amateurs are made of."""
    draw, width = torch.Generator().manual_seed(7), lm.model.config.hidden_size
    maps = {
        layer: Translator(torch.randn(width, width, generator=draw) * 0.1, torch.randn(width, generator=draw) * 0.1)
        for layer in (1, 2, 3)
    }
    half = {"n_layer": 2} if lm.model.config.model_type == "gpt2" else {"num_hidden_layers": 2}
    model = build_model(lm.model.config.model_type, seed=1, **half)
    made: dict[Amateur, AmateurModel] = {
        SMALL: language_model(model, lm.tokenizer, "tiny small"),
        AMATEURS["truncated"]: truncate(lm, 2),
        AMATEURS["pruned"]: without_blocks(lm, (2,)),
        AMATEURS["masked heads"]: without_given_heads(lm, HEADS),
        AMATEURS["context"]: lm,
        AMATEURS["noise"]: with_noise(lm, 4, 0.0, 0),
        AMATEURS["n-grams"]: Ngrams(torch.randint(VOCAB - 2, (9, 40), generator=draw).tolist(), 3, VOCAB - 2),
    }
    return made | {one: tuned_lens(maps, {}) for one in AMATEURS.values() if one.lens.translates}


def check(lm: LanguageModel, hows: list[Setting], counted: Counted, *, buckets: int) -> None:
    """Decode both ways, so that texts enter so many buckets."""
    programs, entered = counted.programs, len(counted.buckets)
    lanes = [Lane(prompt, how, f"text-{row}") for row, prompt in enumerate(PROMPTS) for how in hows]
    check_equal(*both(lm, lanes, loaded(lm)))
    found = set(counted.buckets[entered:])
    assert counted.breaks == 0
    assert counted.programs - programs == len(found) == buckets


def contrasted(*names: str, **changes: Any) -> list[Setting]:
    return [setting(**{"amateur": AMATEURS[name], "temperature": 0.5, "beams": 3, **changes}) for name in names]


# Families with learned and with rotary positions, grouped keys, windows, an offset of positions; the searches and the
# kinds of amateurs that share a step between them.
EVERY_RUN: dict[str, tuple[str, list[Setting], int]] = {
    "beam, own passes and exits": ("llama", contrasted("none", "exit, linear", "model", max_new_tokens=14), 2),
    "greedy, candidates": ("gpt2", contrasted("exit", normalizer=Normalizer.candidates, **GREEDY), 1),
    "sample": ("gemma3_text", [sampled(how, top_p=0.9) for how in contrasted("exit", "none")], 1),
    "contrastive search, ending": (
        "gpt2",
        [setting(search=SearchKind.contrastive_search, beams=3, penalty=0.6, ban=Ban.none, max_new_tokens=6)],
        1,
    ),
    "beam, ending": ("opt", contrasted("none", ban=Ban.none, max_new_tokens=6), 1),
    "early exits of the expert": (
        "gpt2",
        contrasted("none", adaptive_exit=AdaptiveExit(ConfidenceMeasure.softmax, 0.5, 4.0, (2, 3)), max_new_tokens=6),
        1,
    ),
}


@pytest.mark.parametrize("case", EVERY_RUN)
def test_a_compiled_step_writes_the_same_text(case: str, small: Callable[[str], LanguageModel]) -> None:
    family, hows, buckets = EVERY_RUN[case]
    with counting() as counted:
        check(small(family), hows, counted, buckets=buckets)


# Programs of their own, beside those of the grid.
MORE: dict[str, list[Setting]] = {
    "candidates": contrasted("exit", "exit, linear", normalizer=Normalizer.candidates),
    "candidates, sampled": [sampled(how) for how in contrasted("exit", normalizer=Normalizer.candidates)],
    "rules": [early_exit(2, plausibility=rule) for rule in RULES] + [setting(plausibility=rule) for rule in RULES],
    "weights": [
        early_exit(2, token_weight=weight)
        for weight in (TokenWeight(Weight.entropy, most=0.8), TokenWeight(gate=Gate.agreement))
    ],
    "contrastive search": [setting(search=SearchKind.contrastive_search, beams=3, penalty=0.6)],
    "contrastive search, ending": [setting(search=SearchKind.contrastive_search, beams=3, penalty=0.2, ban=Ban.none)],
    "early exits of the expert": [
        replace(how, adaptive_exit=AdaptiveExit(measure, 0.5, 4.0, (2, 3)))
        for how in (setting(), early_exit(1))
        for measure in ConfidenceMeasure
    ],
}


@pytest.mark.parametrize("family", each_night(every_run=("llama",)))
@pytest.mark.parametrize("name", [*SEARCHES, *MORE])
def test_a_replayed_step_writes_the_same_text(name: str, family: str, small: Callable[[str], LanguageModel]) -> None:
    """Kills any state that a step keeps where the next one does not look, and any value that the host reads."""
    search = SEARCHES.get(name)
    hows = MORE[name] if search is None else [search(how) for how in contrasted(*AMATEURS)]
    lm, before = small(family), Recording.replayed
    lanes = [Lane(prompt, how, f"text-{row}") for row, prompt in enumerate(PROMPTS) for how in hows]
    with recording():
        check_equal(*both(lm, lanes, loaded(lm)))
    assert Recording.replayed > before, "every step was taken by the engine: the test saw nothing"


def test_state_that_is_not_put_back_is_missed(
    small: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the test above can fail."""
    lm = small("llama")
    lanes = [Lane(prompt, early_exit(2)) for prompt in PROMPTS]
    monkeypatch.setattr(engine._Run, "state", tuple(name for name in engine._Run.state if name != "_totals"))
    with recording():
        eager, found = both(lm, lanes, {})
    assert [one.score for one in found] != [one.score for one in eager]


def test_programs_serve_later_batches_of_the_same_kind(small: Callable[[str], LanguageModel]) -> None:
    """Numbers of a setting and the prompts are data. Kills a program that is found again with other blocks tapped, and
    one that is made again for every batch, whose tapping hooks are new ones."""
    greedy = {"normalizer": Normalizer.candidates, "max_new_tokens": 6, **GREEDY}
    batches = [(early_exit(2, **greedy), 1), (early_exit(3, **greedy), 1), (early_exit(2, alpha=0.3, **greedy), 0)]
    with counting() as counted:
        for how, programs in batches:
            before = counted.programs
            check_equal(*both(small("gpt2"), [Lane(PROMPTS[0], how), Lane(PROMPTS[1], how)], {}))
            assert counted.programs - before == programs


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "hf": ({"search": SearchKind.hf, "beams": 1}, "search=hf"),
    "an amateur of your own": ({"amateur": Amateur("blurred")}, "amateur=blurred is code of your own"),
    "a rule of your own": (
        {"amateur": AMATEURS["exit"], "plausibility": Plausibility("near_best")},
        r"contrast\.plausibility=near_best is a function of your own",
    ),
    "a callable gate": (
        {"amateur": AMATEURS["exit"], "token_weight": TokenWeight(gate=Gate.callable, call='{"_target_": "x.y"}')},
        r"contrast\.gate=callable",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compiled_is_refused_where_it_was_asked_for(
    case: str, small: Callable[[str], LanguageModel], tmp_path: Path
) -> None:
    changes, message = REFUSED[case]
    lm, hows = small("gpt2"), [setting(**changes)]
    with (
        plugged(tmp_path),
        pytest.raises(ConfigError, match=rf"execution\.compile=always: {message}.*execution\.compile=auto, or never"),
    ):
        static.compiles(Compile.always, lm, hows)
    assert not static.compiles(Compile.never, lm, hows)


def test_a_trace_is_refused_and_auto_compiles_nothing_on_a_cpu(small: Callable[[str], LanguageModel]) -> None:
    lm, lane = small("gpt2"), Lane(PROMPTS[0], setting(max_new_tokens=3))
    with pytest.raises(ConfigError, match="a trace reads every step on the host"):
        decode_batch(lm, [lane], 4, watch=Watch(3), compiling=Compile.always)
    assert not static.compiles(Compile.auto, lm, [lane.setting])
    assert static.compiles(Compile.always, lm, [lane.setting])


def test_positions_that_are_asked_for_are_no_program(tokenizer: Any) -> None:
    """Rope scaling of type dynamic reads the length of the text at every pass."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    lm = language_model(build_model("llama", rope_parameters=rope), tokenizer, "dynamic")
    with pytest.raises(ConfigError, match="rope scaling of type dynamic"):
        static.compiles(Compile.always, lm, [setting()])


@pytest.mark.parametrize("wanted", [Compile.always, Compile.auto])
def test_where_torch_cannot_compile_auto_goes_on_and_always_says_so(
    wanted: Compile, small: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_graph: object, _inputs: object) -> object:
        raise RuntimeError("no compiler here")

    lm, lanes = small("gpt2"), [Lane(prompt, setting(max_new_tokens=5, **GREEDY)) for prompt in PROMPTS]
    expected, _ = decode_batch(lm, lanes, 4, compiling=Compile.never)
    monkeypatch.setattr(engine, "compiles", lambda *_arguments: True)  # as on a GPU
    with counting():
        monkeypatch.setattr(static, "BACKEND", broken)
        if wanted is Compile.always:
            with pytest.raises(ModelError, match=r"execution\.compile=always: .*no compiler here"):
                decode_batch(lm, lanes, 4, compiling=wanted)
            return
        with pytest.warns(RuntimeWarning, match="runs uncompiled: .*no compiler here"):
            found, _ = decode_batch(lm, lanes, 4, compiling=wanted)
    check_equal(expected, found)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("search", ["beam", "greedy", "sample", "contrastive search"])
def test_what_the_compiler_makes_writes_the_same_text(
    search: str, small: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By inductor, as on a GPU: kills what tracing alone cannot see. It once gathered the mask's rows into themselves.

    A C++ compiler is needed, and minutes.
    """
    lm = small("llama")
    hows = (
        MORE[search]
        if search in MORE
        else [SEARCHES[search](how) for how in contrasted("none", "exit", "truncated", "n-grams")]
    )
    lanes = [Lane(prompt, how, f"text-{row}") for row, prompt in enumerate(PROMPTS) for how in hows]
    with counting():
        monkeypatch.setattr(static, "BACKEND", "inductor")
        check_equal(*both(lm, lanes, loaded(lm)))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("name", [*SEARCHES, *MORE])
def test_every_search_with_every_amateur_is_compiled(
    name: str, family: str, small: Callable[[str], LanguageModel], record_property: Callable[[str, object], None]
) -> None:
    """The grid, one amateur at a time: breaks 0, one program a bucket, the same texts."""
    search, lm = SEARCHES.get(name), small(family)
    batches = {name: MORE[name]} if search is None else {one: [search(*contrasted(one))] for one in AMATEURS}
    for label, hows in batches.items():
        lanes = [Lane(PROMPTS[0], how, "text-0") for how in hows]
        with counting() as counted:
            check_equal(*both(lm, lanes, loaded(lm)))
            record_property(label, (counted.breaks, counted.programs, counted.buckets))
            assert counted.breaks == 0, label
            assert counted.programs == len(set(counted.buckets)), label
