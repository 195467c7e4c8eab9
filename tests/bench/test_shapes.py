"""The group `shapes` and `+preset=gpu`: the plan, a rehearsal on the CPU with tiny models, the time that there is."""

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from cdeval.bench import runner, timer
from cdeval.bench.__main__ import bench
from cdeval.bench.config import OF_EXPERT, BenchConfig, BenchRun, GroupName, validate_bench
from cdeval.bench.limits import Limits, Work
from cdeval.bench.page import machine_rows
from cdeval.bench.peers import Ways, hugging_face
from cdeval.bench.plan import COMPILING, BenchArm, BenchGroup, Pass
from cdeval.bench.shapes import Shape, open_shapes, shape_groups
from cdeval.bench.timer import Timer
from cdeval.cli import CONF, Schema, run_schema
from cdeval.config.amateur import Amateur
from cdeval.config.enums import SearchKind
from cdeval.config.schema import ExpertConfig, PromptsConfig
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.cost.traffic import token_bytes
from cdeval.errors import CdevalError, ConfigError, ModelError
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import truncate
from tests.conftest import build_model, build_tokenizer
from tests.decode.compiling import recording
from tests.decode.oracles import setting

RATES = Limits(1e10, {"torch.bfloat16": 1e11, "torch.float32": 1e11})
PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two experts, one with a small model of its own."""
    folder = tmp_path_factory.mktemp("shapes")
    sizes = {"expert": ("gpt2", 4), "small": ("gpt2", 2), "alone": ("llama", 4)}
    for name, (family, blocks) in sizes.items():
        deep = {"n_layer": blocks} if family == "gpt2" else {"num_hidden_layers": blocks}
        build_model(family, **deep).save_pretrained(folder / name)
        build_tokenizer().save_pretrained(folder / name)
    return [f"{folder / 'expert'}+{folder / 'small'}", str(folder / "alone")]


def run(pairs: list[str], **more: object) -> BenchRun:
    sizes = BenchConfig(groups=[GroupName.shapes], pairs=pairs, new_tokens=4, repeats=1, shape_prompts=2)
    expert = ExpertConfig("embedded:smollm2", device="cpu")
    return BenchRun(expert=expert, prompts=PromptsConfig(prompt_tokens=6), bench=replace(sizes, **more))


def preset() -> BenchRun:
    ConfigStore.instance().store(name="schema", node=BenchRun)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = OmegaConf.to_object(compose("bench", ["+preset=gpu"]))
    assert isinstance(found, BenchRun)
    return found


def test_the_preset_asks_for_a_gpu_and_for_the_shapes_of_the_papers() -> None:
    found = validate_bench(preset())
    assert found.expert.device == "cuda"
    assert found.bench.groups == [GroupName.shapes]
    assert found.bench.pairs == ["gpt2-xl+gpt2", "opt-1.3b+opt-125m", "smollm2-135m"]
    assert GroupName.shapes not in BenchConfig().groups == list(OF_EXPERT), "nobody's processor is asked for GPT-2 XL"


def test_the_preset_is_done_in_nine_minutes() -> None:
    """Steps of all passes, at 20 ms each: twice what a step of GPT-2 XL's 48 blocks takes a GPU's host to launch."""
    sizes = preset().bench
    arms = 5 + 4 + 4 + 4 + 2 + 3 + 3
    passes = len(sizes.pairs) * arms * (1 + sizes.repeats)
    assert passes * sizes.new_tokens * 0.020 < 60 * 6
    assert sizes.minutes is not None
    assert 60 * sizes.minutes + 60 < 9 * 60 + 1


def test_every_decoder_is_there_at_one_prompt_and_at_many(pairs: list[str], tmp_path: Path) -> None:
    config = run(pairs)
    groups = shape_groups(open_shapes(config, RATES, tmp_path), config.bench)
    names = [f"{name}_{kind}" for name in ("expert", "alone") for kind in ("beam_1", "greedy_1", "beam_2", "greedy_2")]
    last = [f"{name}_{kind}" for name in ("expert", "alone") for kind in ("static", "greedy_compiled", "beam_compiled")]
    assert [group.name for group in groups] == [*names, *last]
    assert [group.compiles for group in groups] == [False] * 8 + [True] * 6
    beam, greedy, many = ([arm.label for arm in group.arms] for group in groups[:3])
    small = "contrast with a small model bf16"
    assert beam == ["Hugging Face plain bf16", f"Hugging Face {small}"] + [
        f"ours {what}" for what in ("plain bf16", "contrast bf16", small)
    ]
    assert greedy == ["Hugging Face greedy bf16"] + [
        f"ours greedy{what}" for what in (" bf16", " contrast bf16", f" {small}")
    ]
    assert all(label.endswith(", 2 prompts") for label in many)
    static, greedy, beam = (group.arms[-1].label for group in groups[-3:])
    assert static == "Hugging Face greedy bf16, static cache"
    assert (greedy, beam) == ("ours greedy contrast bf16, compiled", "ours contrast bf16, compiled")
    assert all(0 < arm.least < math.inf for group in groups for arm in group.arms)
    with recording():
        assert all(len(text) == 3 for group in groups for arm in group.arms for text in arm.run(3).texts)


def test_the_small_model_is_the_one_that_is_named_or_the_first_blocks(pairs: list[str], tmp_path: Path) -> None:
    named, first = (shape.arms.models for shape in open_shapes(run(pairs), RATES, tmp_path))
    assert named.small_amateur == Amateur("model", name=pairs[0].split("+")[1])
    assert first.small_amateur == Amateur("truncated", 1)
    assert (named.layer, first.layer) == (3, 3)


def open_one(pair: str, tmp_path: Path) -> list[Shape]:
    return open_shapes(run([pair]), RATES, tmp_path)


def test_what_is_no_shape_is_refused(pairs: list[str], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="their vocabularies differ"):
        open_one(f"{pairs[1]}+gpt2", tmp_path)
    with pytest.raises(CdevalError, match=r"bench\.pairs"):
        open_one("nobodys/model", tmp_path)
    for wrong, expected in (([], "names no model"), (["a+b+c"], "'a+b+c' is no pair"), (["a+"], "'a+' is no pair")):
        with pytest.raises(ConfigError, match=re.escape(expected)):
            validate_bench(preset_with(pairs=wrong))
    other = preset()
    other.expert.name = "openai-community/gpt2"
    with pytest.raises(ConfigError, match=r"is not read by bench\.groups=\[shapes\]"):
        validate_bench(other)


def preset_with(**more: object) -> BenchRun:
    found = preset()
    return replace(found, bench=replace(found.bench, **more))


def test_a_static_cache_and_another_attention_make_the_same_texts(two_tiny: LanguageModel) -> None:
    """Kills: a cache that is too short, attention that is not put back."""
    how = setting(search=SearchKind.greedy, beams=1)
    before = two_tiny.model.config._attn_implementation
    texts = hugging_face(two_tiny, PROMPTS, [how], 2)(9).texts
    for ways in (Ways(attention="sdpa"), Ways(helped=False, attention="sdpa", cache="static")):
        assert hugging_face(two_tiny, PROMPTS, [how], 2, None, ways)(9).texts == texts
    assert two_tiny.model.config._attn_implementation == before


def test_a_small_models_weights_and_products_are_part_of_the_roofline(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    small, how, work = truncate(lm, 2), setting(amateur=Amateur("truncated", 2), max_new_tokens=4), Work(6, 1, 5, 4)
    slow_memory, slow_products = Limits(1.0, {str(lm.dtype): 1e30}), Limits(1e30, {str(lm.dtype): 1.0})
    weights = sum(token_bytes(one).blocks + token_bytes(one).head for one in (lm, small))
    apart, together = (slow_memory.least(lm, how, replace(work, batches=n), small) for n in (6, 1))
    assert apart - together == pytest.approx(5 * 4 * weights)
    flops = lane_flops(token_flops(lm), how, 5, 4, token_flops(small)).total
    assert slow_products.least(lm, how, work, small) == pytest.approx(6 * flops)


def group(name: str, run: Callable[[int], Pass], **more: object) -> BenchGroup:
    arm = BenchArm("a", run, texts=1, new_tokens=8)
    return BenchGroup(name, name, (arm,), "a", 2, **more)  # type: ignore[arg-type]


def works(tokens: int) -> Pass:
    return Pass(((1,) * tokens,))


def fails(_tokens: int) -> Pass:
    raise RuntimeError("no compiler\nis there")


def test_what_would_end_too_late_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "_since_the_command_began", lambda: 100.0)
    skipped: list[str] = []
    clock = iter(range(10_000))
    one = Timer(lambda: float(next(clock)), lambda _line: None, skipped, 4.0)
    plain, compiled = group("plain", works), group("compiled", works, compiles=True)
    seconds = one.estimates([plain, compiled])
    assert seconds == {"plain": 3 * 8 / 4, "compiled": COMPILING}
    assert one.time(plain, seconds) is not None
    assert one.time(compiled, seconds) is not None
    assert one.time(plain, {"plain": 141.0}) is None
    assert skipped == ["plain is left out: it takes about 141 s, and bench.minutes=4 are nearly over: give more"]
    assert Timer(lambda: float(next(clock)), print, skipped, None).time(plain, {"plain": 1e9}) is not None


def test_what_cannot_be_compiled_is_left_out_and_a_bug_is_not() -> None:
    skipped: list[str] = []
    one = Timer(lambda: 0.0, lambda _line: None, skipped, None)
    assert one.time(group("compiled", fails, compiles=True), {"compiled": 1.0}) is None
    assert skipped == ["compiled is left out: RuntimeError: no compiler is there"]
    with pytest.raises(RuntimeError, match="no compiler"):
        one.time(group("plain", fails), {"plain": 1.0})


def test_the_preset_is_rehearsed_on_the_cpu(
    pairs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command but for the sizes, and for what the machine's limits are."""
    monkeypatch.setattr(Limits, "of_machine", lambda *_: RATES)
    monkeypatch.setattr(runner, "to_png", lambda *_: b"a picture")
    monkeypatch.chdir(tmp_path)
    small = [
        "bench.minutes=1000",
        "bench.new_tokens=4",
        "bench.repeats=1",
        "bench.shape_prompts=2",
        "prompts.prompt_tokens=6",
    ]
    named = [f"bench.pairs=[{pairs[0]}]", "expert.device=cpu"]
    monkeypatch.setattr(sys, "argv", ["cdeval.bench", "+preset=gpu", *named, *small])
    with recording():
        run_schema(bench, Schema(BenchRun, validate_bench), "bench")
    found = json.loads((tmp_path / "runs" / "bench" / "bench.json").read_text())
    assert len(found["groups"]) == 7
    arms = {label: arm for one in found["groups"].values() for label, arm in one["arms"].items()}
    assert all(len(arm["seconds"]) == 1 and arm["share_of_limit"] > 0 for arm in arms.values())
    assert found["skipped"] == []
    assert found["provenance"]["models"]["weights"] == "random"
    page = (tmp_path / "runs" / "bench" / "bench.html").read_text()
    assert page.count("<table>") == 1 + 7, "the machine, and a table a group; no goals"
    assert "expert, 2 prompts at once, greedy" in page
    assert f"torch</th><td>{torch.__version__}" in page
    printed = capsys.readouterr()
    assert "roofline of this machine: 10.0 GB/s" in printed.out
    assert "not measured" not in printed.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_preset_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cdeval.bench", "+preset=gpu"])
    with pytest.raises(SystemExit) as stopped:
        run_schema(bench, Schema(BenchRun, validate_bench), "bench")
    assert stopped.value.code == 2
    assert "error: expert.device=cuda cannot be used on this machine" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_another_command_says_that_the_preset_is_not_its_own(refused: Callable[[str, list[str]], str]) -> None:
    message = refused("run", ["+preset=gpu"])
    assert message.startswith("error: preset=gpu sets bench, which this command does not have")


def test_the_machine_is_named_by_its_card() -> None:
    record = {
        "cdeval": {"version": "0.1.0", "commit": "abcdef0123456789", "dirty": True},
        "libraries": {"python": "3.11.7", "torch": "2.13.0+cu130"},
        "machine": {"cpu": "a processor", "cores_usable": 16, "platform": "Linux"},
        "gpu": {"names": ["a card", "a card"], "driver": "580.1", "cuda": "13.0"},
        "started_utc": "2026-11-30",
    }
    rows = dict(machine_rows(record))
    assert rows["GPU"] == "a card, a card"
    assert (rows["driver"], rows["CUDA"], rows["processor"]) == ("580.1", "13.0", "a processor, 16 cores")
    assert rows["cdeval"] == "0.1.0 abcdef012345 with changes"
    assert {"GPU", "driver", "CUDA"}.isdisjoint(dict(machine_rows({**record, "gpu": None})))
