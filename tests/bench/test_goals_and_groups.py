"""Goals against timings made up on paper; groups on a tiny model; the files."""

import math
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest
import torch
from rich.console import Console

from cdeval.bench.arms import BF16, F32, HUGGING_FACE, NAIVE, OURS, BenchSearch, Size, label, settings_grid
from cdeval.bench.config import BenchConfig, GroupName
from cdeval.bench.goals import Goal, judge
from cdeval.bench.groups import longest_text, prompts_needed
from cdeval.bench.limits import Limits, Work
from cdeval.bench.plan import BenchTiming, GroupResult
from cdeval.bench.results import to_png
from cdeval.bench.table import goals_table, group_table, growth_lines
from cdeval.cost.bandwidth import measure_bandwidth, measure_products
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.cost.traffic import token_bytes
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import early_exit


def timed(name: str, seconds: float, texts: int = 1, **more: object) -> BenchTiming:
    facts = {"new_tokens": 10, "batches": 1, "seconds": (seconds,), "peak_slots": None, "twin": None, **more}
    return BenchTiming(name, texts, **facts)  # type: ignore[arg-type]


def group(name: str, *timings: BenchTiming, axis: str = "") -> GroupResult:
    return GroupResult(name, "a title", timings[0].label, False, axis, {timing.label: timing for timing in timings})


def goal(results: dict[str, GroupResult], start: str, bench: BenchConfig | None = None) -> Goal:
    (found,) = [goal for goal in judge(results, bench or BenchConfig(), 32) if goal.text.startswith(start)]
    return found


CONTRAST = label(OURS, BenchSearch.contrast, BF16)


def test_time_goals_are_ours_over_theirs() -> None:
    """A ratio upside down would pass exactly when it should fail."""
    hf_bf16, hf_f32 = (label(HUGGING_FACE, BenchSearch.plain, dtype) for dtype in (BF16, F32))
    plain = timed(label(OURS, BenchSearch.plain, BF16), 2.0)
    single = group("single", timed(hf_bf16, 4.0), timed(hf_f32, 10.0), plain, timed(CONTRAST, 3.0))
    results = {"single": single}
    assert goal(results, "one prompt: contrast bf16 over Hugging Face plain bf16").measured == pytest.approx(0.75)
    assert goal(results, "one prompt: contrast bf16 over Hugging Face plain bf16").met is True
    assert goal(results, "one prompt: contrast bf16 over Hugging Face plain f32").measured == pytest.approx(0.3)
    over_plain = goal(results, "one prompt: contrast over our own plain beam")
    assert (over_plain.measured, over_plain.met) == (pytest.approx(1.5), False)


def test_the_greedy_goal_is_the_candidate_only_heads() -> None:
    greedy = group(
        "greedy",
        timed(label(OURS, BenchSearch.greedy, BF16), 2.0),
        timed(label(OURS, BenchSearch.greedy_contrast, BF16), 2.2),
        timed(label(OURS, BenchSearch.greedy_candidates, BF16), 2.02),
    )
    found = goal({"greedy": greedy}, "one prompt: greedy contrast")
    assert (found.measured, found.met) == (pytest.approx(1.01), True)


def test_speed_goals_are_theirs_over_ours() -> None:
    short = Size(new_tokens=80)
    naive = group(
        "naive", timed(label(NAIVE, BenchSearch.contrast, BF16, short), 120.0), timed(f"{CONTRAST}{short}", 2.0)
    )
    faster = goal({"naive": naive}, "80 tokens")
    assert (faster.measured, faster.met) == (pytest.approx(60.0), True)
    many = Size(prompts=16, settings=8)
    sequential = timed(label(HUGGING_FACE, BenchSearch.contrast, BF16, Size(prompts=16)), 70.0 / 8)
    sweep = group("sweep", sequential, timed(f"{CONTRAST}{many}", 10.0))
    assert (goal({"sweep": sweep}, "8 settings").measured, goal({"sweep": sweep}, "8 settings").met) == (7.0, False)


def test_each_side_is_taken_at_its_own_best_batch_size() -> None:
    theirs = label(HUGGING_FACE, BenchSearch.plain, BF16)
    batch = group(
        "batch",
        timed(theirs, 1.0, texts=1, series=theirs),
        timed(f"{theirs}, 8 prompts", 4.0, texts=8, series=theirs),  # their best: 20 tokens/s
        timed(f"{theirs}, 32 prompts", 32.0, texts=32, series=theirs),
        timed(CONTRAST, 1.0, texts=1, series=CONTRAST),
        timed(f"{CONTRAST}, 32 prompts", 5.0, texts=32, series=CONTRAST),  # ours: 64
    )
    best = goal({"batch": batch}, "best batch sizes")
    assert (best.measured, best.met) == (pytest.approx(3.2), True)


def test_live_kv_is_counted_in_texts_of_prompt_and_new_tokens() -> None:
    size = Size(new_tokens=256)
    growth = group("growth_tokens", timed(f"{CONTRAST}{size}", 1.0, new_tokens=256, peak_slots=432))
    assert goal({"growth_tokens": growth}, "256 new tokens").measured == pytest.approx(432 / (32 + 256))


def test_what_was_not_timed_is_neither_met_nor_missed() -> None:
    goals = judge({}, BenchConfig(), 32)
    assert len(goals) == 13
    assert all(math.isnan(goal.measured) and goal.met is None for goal in goals)


def test_fused_settings_are_all_different_and_begin_with_the_configured_one() -> None:
    """Equal lanes would be a smaller problem than the sweep that is claimed."""
    first = early_exit(2, alpha=0.1, temperature=1.0)
    for number in (1, 2, 16, 40):
        found = settings_grid(first, number)
        assert found[0] == first
        assert len(set(found)) == number
        assert {setting.amateur.layer for setting in found} == {2}


@pytest.mark.parametrize(
    ("groups", "prompts", "tokens"),
    [
        ([GroupName.single], 1, 128),
        ([GroupName.naive], 1, 80),
        ([GroupName.batch, GroupName.single], 32, 128),
        ([GroupName.growth], 64, 512),
        ([GroupName.compaction], 8, 256),
        ([GroupName.sweep, GroupName.naive], 16, 128),
    ],
)
def test_only_what_the_groups_need_is_asked_for(groups: list[GroupName], prompts: int, tokens: int) -> None:
    bench = BenchConfig(groups=groups)
    assert (prompts_needed(bench), longest_text(bench)) == (prompts, tokens)


def weights_of_a_step(lm: LanguageModel) -> int:
    costs = token_bytes(lm)
    return costs.blocks + costs.head


def test_a_step_reads_every_matrix_once(tiny: Callable[[str], LanguageModel]) -> None:
    """Tied embeddings are read as the head; positions and embeddings that are looked up are not."""
    llama, gpt2 = tiny("llama"), tiny("gpt2")
    norms = (2 * 4 + 1) * 32
    assert weights_of_a_step(llama) == 4 * (llama.model.num_parameters() - norms)
    matrices = 4 * (32 * 96 + 32 * 32 + 2 * 32 * 128) + 128 * 32
    assert weights_of_a_step(gpt2) == 4 * matrices


def test_the_roofline_is_the_larger_of_bytes_and_products(tiny: Callable[[str], LanguageModel]) -> None:
    """Kills: weights counted once a text where a batch shares them, or a limit that adds what may overlap."""
    lm, how = tiny("llama"), early_exit(2, beams=3, max_new_tokens=4)
    one, together, apart = Work(1, 1, 5, 4), Work(6, 1, 5, 4), Work(6, 6, 5, 4)
    slow_memory, slow_products = Limits(1.0, {str(lm.dtype): 1e30}), Limits(1e30, {str(lm.dtype): 2.0})
    alone = slow_memory.least(lm, how, one)
    assert slow_memory.least(lm, how, apart) == pytest.approx(6 * alone)
    assert 6 * alone - slow_memory.least(lm, how, together) == pytest.approx(5 * 4 * weights_of_a_step(lm))
    flops = lane_flops(token_flops(lm), how, 5, 4).total
    assert slow_products.least(lm, how, together) == slow_products.least(lm, how, apart) == pytest.approx(3 * flops)


def test_the_share_of_the_roofline_is_shown_and_judged() -> None:
    f32 = label(OURS, BenchSearch.contrast, F32)
    single = group("single", timed(CONTRAST, 4.0, least=1.0), timed(f32, 2.0, least=1.2), timed("theirs", 4.0))
    assert goal({"single": single}, "one prompt: contrast f32, share").met is True
    assert goal({"single": single}, "one prompt: contrast bf16, share").measured == 0.25
    rates = Limits(25e9, {"torch.float32": 150e9})
    assert rates.lines([single], OURS) == [
        "roofline of this machine: 25.0 GB/s read, matrix products of 150 GFLOP/s in float32",
        f"share of it that the engine reaches: 25% ({CONTRAST}) to 60% ({f32})",
    ]
    console = Console(width=100, record=True, file=StringIO())
    console.print(group_table(single))
    assert "25%" in console.export_text()


def test_products_count_two_flops_a_multiplication(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("cdeval.cost.bandwidth.now", lambda _device: float(next(ticks)))  # each pass takes 1 s
    assert measure_products(torch.device("cpu"), torch.float32) == 2 * 512 * 2048**2


def test_bandwidth_counts_both_directions_of_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("cdeval.cost.bandwidth.now", lambda _device: float(next(ticks)))  # each pass takes 1 s
    found = measure_bandwidth(torch.device("cpu"), 4096)
    assert (found.summed, found.copied, found.read) == (4096.0, 8192.0, 8192.0)


def growth() -> GroupResult:
    points = [(1, 1.0), (2, 1.0), (4, 2.0)]
    return group("growth_prompts", *(timed(f"ours, {x}", y, series="ours", x=x) for x, y in points), axis="prompts")


def test_growth_says_where_it_bends() -> None:
    assert growth_lines(growth()) == ["ours: at 1 2 4 prompts, time ~ x^p with p = 0.00 1.00"]
    assert growth_lines(group("single", timed("a", 1.0))) == []


def test_the_tables_say_what_was_measured() -> None:
    console = Console(width=100, record=True, file=StringIO())
    slow = replace(timed("[red]theirs[/red]", 0.0), seconds=(4.0, 6.0, 5.0), same_tokens=0.5, twin="ours")
    console.print(group_table(group("single", timed("ours", 2.0), slow)))
    console.print(goals_table([Goal("a", 0.9, most=0.8), Goal("b", 9.0, least=8), Goal("c", math.nan, most=1)], ["n"]))
    lines = console.export_text().splitlines()
    (row,) = [line for line in lines if "theirs" in line]
    assert row.split() == ["[red]theirs[/red]", "5", "4–6", "500.0", "2.0", "2.500", "50.0", "%"]
    assert any("ours *" in line for line in lines)
    verdicts = {line.split()[0]: line.split()[1:] for line in lines if line.strip()[:2] in {"a ", "b ", "c "}}
    assert verdicts["a"] == ["≤", "0.8", "0.9", "no"]
    assert verdicts["b"] == ["≥", "8", "9", "yes"]
    assert verdicts["c"] == ["≤", "1", "–", "not", "measured"]


def test_the_picture_is_drawn_whole() -> None:
    groups = [growth(), group("single", timed("ours", 2.0)), group("x", timed("y", 1.0))]
    assert to_png(groups, "a machine").startswith(b"\x89PNG")
