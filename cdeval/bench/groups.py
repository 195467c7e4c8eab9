"""The comparisons: which arms are timed in turn, and over which one their ratios are."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from cdeval.bench.arms import BF16, F32, HUGGING_FACE, OURS, Arms, BenchSearch, Size, label
from cdeval.bench.config import OF_EXPERT, BenchConfig, GroupName
from cdeval.bench.plan import BenchArm, BenchGroup
from cdeval.decode.clock import now

GROWTH = {"tokens": "new tokens", "prompts": "prompts at once", "settings": "fused settings of one prompt"}


def build_groups(arms: Arms) -> list[BenchGroup]:
    """The configured groups that decode with the expert, in the order given; loads the models that they need."""
    return [group for name in expert_groups(arms.config.bench) for group in _BUILDERS[name](arms)]


def expert_groups(bench: BenchConfig) -> list[GroupName]:
    """List the configured groups that decode with the expert, each once."""
    return [name for name in dict.fromkeys(bench.groups) if name in OF_EXPERT]


def prompts_needed(bench: BenchConfig) -> int:
    """Count the prompts that the configured groups use."""
    needs = {
        GroupName.batch: max(bench.batch_sizes),
        GroupName.compaction: max(bench.compaction_prompts),
        GroupName.sweep: bench.sweep_prompts,
        GroupName.growth: max(bench.growth_prompts),
        GroupName.precision: bench.precision_prompts,
    }
    return max(needs.get(name, 1) for name in bench.groups)


def longest_text(bench: BenchConfig) -> int:
    """Most new tokens that any of the configured groups decodes."""
    own = {
        GroupName.naive: bench.naive_tokens,
        GroupName.compaction: bench.compaction_tokens,
        GroupName.growth: max(*bench.growth_tokens, bench.new_tokens),
    }
    return max(own.get(name, bench.new_tokens) for name in bench.groups)


def _single(arms: Arms) -> list[BenchGroup]:
    found = [
        arms.hugging_face(BenchSearch.plain, BF16),
        arms.hugging_face(BenchSearch.plain, F32),
        arms.hugging_face(BenchSearch.contrast, BF16),
        arms.ours(BenchSearch.plain, BF16),
        arms.ours(BenchSearch.contrast, BF16),
        arms.ours(BenchSearch.plain, F32),
        arms.ours(BenchSearch.contrast, F32),
        *arms.ctranslate2(),
    ]
    reference = label(HUGGING_FACE, BenchSearch.plain, BF16)
    return [_group(arms, "single", "one prompt, beam search", found, reference)]


def _greedy(arms: Arms) -> list[BenchGroup]:
    found = [
        arms.ours(BenchSearch.greedy, BF16),
        arms.ours(BenchSearch.greedy_contrast, BF16),
        replace(arms.ours(BenchSearch.greedy_candidates, BF16), twin=label(OURS, BenchSearch.greedy_contrast, BF16)),
        arms.hugging_face(BenchSearch.greedy, BF16),
    ]
    return [_group(arms, "greedy", "one prompt, greedy search", found, found[0].label)]


def _fused(arms: Arms) -> list[BenchGroup]:
    found = [arms.ours(BenchSearch.contrast, BF16, Size(settings=n)) for n in arms.config.bench.fused_settings]
    return [_group(arms, "fused", "settings of one prompt, decoded together", found, found[0].label)]


def _batch(arms: Arms) -> list[BenchGroup]:
    sizes = [Size(prompts=n) for n in arms.config.bench.batch_sizes]
    found = [
        arm
        for size in sizes
        for arm in (
            arms.hugging_face(BenchSearch.plain, BF16, size),
            arms.ours(BenchSearch.plain, BF16, size),
            arms.ours(BenchSearch.contrast, BF16, size),
            replace(arms.ours(BenchSearch.candidates, BF16, size), twin=label(OURS, BenchSearch.contrast, BF16, size)),
            *(arms.ctranslate2(size) if size.prompts <= 8 else []),
        )
    ]
    group = _group(arms, "batch", "prompts at once, beam search; ratios per token", found, found[0].label, slow=True)
    return [replace(group, per_token=True)]


def _sweep(arms: Arms) -> list[BenchGroup]:
    bench = arms.config.bench
    size = Size(prompts=bench.sweep_prompts, settings=bench.sweep_settings)
    fused = arms.ours(BenchSearch.contrast, BF16, replace(size, at_once=arms.lanes_at_once(BF16)))
    batch = best_batch(arms, bench.sweep_prompts)
    sequential = arms.hugging_face(BenchSearch.contrast, BF16, replace(size, settings=1, at_once=batch))
    title = (
        f"{size.settings} settings of {size.prompts} prompts at once, against one of {size.settings} equal runs at "
        f"Hugging Face's best batch size, {batch} prompts"
    )
    group = _group(arms, "sweep", title, [sequential, fused], sequential.label, slow=True)
    return [replace(group, warm_up=False)]  # passes of minutes: what a first one pays is lost in them


def _compaction(arms: Arms) -> list[BenchGroup]:
    """Compare compacting with keeping all slots at a long text, where dead beams hold most; by number of prompts."""
    bench = arms.config.bench
    groups = []
    for prompts in bench.compaction_prompts:
        size = Size(prompts=prompts, new_tokens=bench.compaction_tokens)
        found = [arms.ours(BenchSearch.contrast, BF16, size, every) for every in bench.compact_every]
        title = f"steps between compactions of the cache (0: never), {prompts} prompts at once"
        groups.append(_group(arms, f"compaction_{prompts}", title, found, found[0].label, slow=True))
    return groups


def _naive(arms: Arms) -> list[BenchGroup]:
    size = Size(new_tokens=arms.config.bench.naive_tokens)
    found = [arms.naive(BF16, size), arms.ours(BenchSearch.contrast, BF16, size)]
    title = "one prompt, no cache, beams one after the other, the head at all positions"
    return [_group(arms, "naive", title, found, found[0].label, slow=True)]


def _growth(arms: Arms) -> list[BenchGroup]:
    bench = arms.config.bench
    axes: dict[str, list[tuple[int, Size]]] = {
        "tokens": [(n, Size(new_tokens=n)) for n in bench.growth_tokens],
        "prompts": [(n, Size(prompts=n)) for n in bench.growth_prompts],
        "settings": [(n, Size(settings=n)) for n in bench.fused_settings],
    }
    groups = []
    for axis, points in axes.items():
        found = [replace(arms.ours(BenchSearch.contrast, BF16, size), x=n) for n, size in points]
        if axis == "tokens":  # for prompts, group batch has both
            found += [replace(arms.hugging_face(BenchSearch.plain, BF16, size), x=n) for n, size in points]
        title = f"time against {GROWTH[axis]}"
        group = _group(arms, f"growth_{axis}", title, found, found[0].label, slow=True)
        groups.append(replace(group, axis=GROWTH[axis]))
    return groups


def _precision(arms: Arms) -> list[BenchGroup]:
    """The texts count here, not the time: one pass, no warm-up."""
    size = Size(prompts=arms.config.bench.precision_prompts, at_once=arms.lanes_at_once(F32))
    found = []
    for search in (BenchSearch.plain, BenchSearch.contrast):
        exact = arms.ours(search, F32, size)
        found += [exact, replace(arms.ours(search, BF16, size), twin=exact.label)]
    group = _group(arms, "precision", "what bfloat16 changes in the texts", found, found[0].label)
    return [replace(group, repeats=1, warm_up=False)]


def best_batch(arms: Arms, prompts: int) -> int:
    """Hugging Face's fastest batch size for the LogitsProcessor, by short runs over all prompts, one setting.

    Tried are the configured batch sizes up to the number of prompts, and that number.
    """
    sizes = sorted({n for n in arms.config.bench.batch_sizes if n < prompts} | {prompts})
    tokens = min(16, arms.config.bench.new_tokens)
    device = arms.models.opened.device
    seconds = {}
    for size in sizes:
        arm = arms.hugging_face(BenchSearch.contrast, BF16, Size(prompts=prompts, at_once=size))
        arm.run(2)
        started = now(device)
        arm.run(tokens)
        seconds[size] = now(device) - started
    return min(sizes, key=lambda size: seconds[size])


def _group(
    arms: Arms, name: str, title: str, found: Sequence[BenchArm], reference: str, *, slow: bool = False
) -> BenchGroup:
    """A twin that is not among the arms is nobody's."""
    bench = arms.config.bench
    labels = {arm.label for arm in found}
    paired = tuple(arm if arm.twin in labels else replace(arm, twin=None) for arm in found)
    return BenchGroup(name, title, paired, reference, bench.slow_repeats if slow else bench.repeats)


_BUILDERS: dict[GroupName, Callable[[Arms], list[BenchGroup]]] = {
    GroupName.single: _single,
    GroupName.greedy: _greedy,
    GroupName.fused: _fused,
    GroupName.batch: _batch,
    GroupName.sweep: _sweep,
    GroupName.compaction: _compaction,
    GroupName.naive: _naive,
    GroupName.growth: _growth,
    GroupName.precision: _precision,
}
