"""Protocols, arms and sweeps of conf/, as the command composes them."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cdeval.cli import CONF, run_command
from cdeval.config.enums import Context, Pool, SearchKind, TemperatureForm
from cdeval.config.plausibility import RULES
from cdeval.config.schema import RunConfig
from cdeval.config.setting import setting_of
from cdeval.errors import CdevalError
from cdeval.run import run
from tests.commands import on
from tests.conftest import build_model, build_tokenizer


def composed(arguments: Sequence[str], cwd: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """What the command would run, all of it handed over at once."""
    calls: list[list[RunConfig]] = []

    def keep(configs: Sequence[RunConfig]) -> list[CdevalError]:
        calls.append(list(configs))
        return []

    monkeypatch.setattr(sys, "argv", ["cdeval.run", *arguments])
    monkeypatch.chdir(cwd)
    run_command(keep)
    (configs,) = calls
    return configs


PROTOCOLS = sorted(path.stem for path in (CONF / "protocol").glob("*.yaml"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_sets_only_what_there_is(
    protocol: str, tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the command line has the last word."""
    dola = ["amateur=dola", "amateur.layer=[2,4,6]"]
    amateur = dola if protocol == "dola2023" else ["amateur=truncated", "amateur.layer=6"]
    parts = [*on(tiny_gpt2_folder, prompts_file)[:-2], *amateur, f"protocol={protocol}", "contrast.alpha=0.2"]
    parts += ["metrics.only=[]"]  # a protocol says how to score, too
    (config,) = composed(parts, tmp_path, monkeypatch)
    assert config.protocol.name == protocol
    assert config.contrast.alpha == 0.2
    if protocol == "li2022":
        assert (config.search.pool, config.contrast.expert_top_k) == (Pool.local, 50)
        assert config.amateur.context is Context.generated
        assert config.contrast.temperature_form is TemperatureForm.logprob


# How many settings each sweep has; a new file in conf/sweep needs a line here.
SWEEPS = {
    "layers": 6,
    "alpha": 4,
    "temperature": 4,
    "grid": 36,
    "amateurs": 7,
    "baselines": 13,
    "arms": 19,
    "study": 15,
    "plausibility": 21,
    "self_amateurs": 14,
}


@pytest.fixture(scope="module")
def swept() -> dict[str, list[RunConfig]]:
    """The settings of sweeps that a test has composed: a sweep takes seconds."""
    return {}


def test_every_sweep_is_known() -> None:
    assert set(SWEEPS) == {path.stem for path in (CONF / "sweep").glob("*.yaml")}


@pytest.mark.parametrize(
    "sweep", [pytest.param(name, marks=pytest.mark.long) if SWEEPS[name] > 10 else name for name in sorted(SWEEPS)]
)
def test_a_sweep_is_one_word_and_all_its_settings_differ(
    sweep: str, swept: dict[str, list[RunConfig]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = swept[sweep] = composed([f"+sweep={sweep}"], tmp_path, monkeypatch)
    assert len(configs) == SWEEPS[sweep]
    assert all(config != other for i, config in enumerate(configs) for other in configs[:i])
    assert {config.study for config in configs} == {sweep}


def test_the_command_line_beats_the_sweep_and_sweeps_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def settings(*arguments: str) -> list[tuple[object, float]]:
        found = composed(list(arguments), tmp_path, monkeypatch)
        return [(config.amateur.layer, config.contrast.alpha) for config in found]

    assert settings("+sweep=layers", "amateur.layer=3,4") == [(3, 0.3), (4, 0.3)]
    assert settings("+sweep=layers", "amateur.layer=3") == [(3, 0.3)]
    assert settings("+sweep=[layers,alpha]", "amateur.layer=3,4", "contrast.alpha=0.1,0.2") == [
        (3, 0.1),
        (3, 0.2),
        (4, 0.1),
        (4, 0.2),
    ]
    assert len(settings("+sweep=[layers,alpha]")) == 24


def test_arms_are_what_their_names_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a comparison must not hand its search or amateur on to the next."""
    names = [
        "early_exit_nucleus",
        "beam",
        "greedy",
        "truncated_generated",
        "dola",
        "acd",
        "contrastive_search",
        "early_exit",
    ]
    found = dict(zip(names, composed([f"+arm={','.join(names)}", "--multirun"], tmp_path, monkeypatch), strict=True))
    kinds = {name: (config.amateur.kind, config.search.kind) for name, config in found.items()}
    none, exit_ = "none", "early_exit"
    assert kinds == {
        "early_exit_nucleus": (exit_, SearchKind.sample),
        "beam": (none, SearchKind.beam),
        "greedy": (none, SearchKind.greedy),
        "truncated_generated": ("truncated", SearchKind.beam),
        "dola": (exit_, SearchKind.greedy),
        "acd": (exit_, SearchKind.greedy),
        "contrastive_search": (none, SearchKind.contrastive_search),
        "early_exit": (exit_, SearchKind.beam),
    }
    assert found["truncated_generated"].amateur.context is Context.generated
    assert found["early_exit"].amateur.context is Context.full
    assert found["acd"].contrast.form.value == "redistributed"
    assert found["early_exit"].contrast.form.value == "difference"


@pytest.mark.long
def test_arms_of_rules_are_what_their_names_say(
    swept: dict[str, list[RunConfig]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rule of ours once under a contrast; without one the sampling of its name, or the rule, which is the same."""
    found = swept.get("plausibility") or composed(["+sweep=plausibility"], tmp_path, monkeypatch)
    rules = {name for name, rule in RULES._known().items() if rule.origin is None}
    ruled = [(one.amateur.kind, one.contrast.plausibility) for one in found if one.contrast.plausibility is not None]
    assert {rule for kind, rule in ruled if kind == "early_exit"} == rules
    alone = [setting_of(one) for one in found if one.amateur.kind == "none"]
    narrowed = {one.plausibility.rule for one in alone if one.masks_alone} | {
        name for one in alone for name in ("top_k", "top_p", "min_p", "typical_p", "eta") if getattr(one.sampling, name)
    }
    assert narrowed == rules - {"all", "alpha", "nucleus", "typical"} | {"top_p", "typical_p"}


def test_the_hubs_small_models_are_arms_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = composed(["+sweep=amateurs", "+arm=gpt2,early_exit", "expert=gpt2-xl"], tmp_path, monkeypatch)
    assert [config.amateur.kind for config in found] == ["model", "early_exit"]


PRESETS = {
    "paper_gpt2xl": ("openai-community/gpt2-xl", "gpt2", 0.5),
    "paper_opt13b": ("facebook/opt-13b", "facebook/opt-125m", 1.0),
}


@pytest.mark.long
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_papers_preset_is_its_published_setting(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Li et al. 2022, section 4 and their code; the other arms differ from it in what their names say."""
    expert, amateur, temperature = PRESETS[preset]
    configs = composed([f"+preset={preset}"], tmp_path, monkeypatch)
    assert len(configs) == 11
    assert {(one.expert.name, one.search.max_new_tokens, one.study) for one in configs} == {(expert, 256, preset)}
    published, whole, exits = configs[:3]
    assert (published.amateur.name, published.amateur.context) == (amateur, Context.generated)
    assert (whole.amateur.name, whole.amateur.context) == (amateur, Context.full)
    assert (exits.amateur.kind, exits.amateur.context) == ("early_exit", Context.full)
    for one in configs[:3]:
        contrast = one.contrast
        assert (contrast.alpha, contrast.beta, contrast.temperature) == (0.1, 1.0, temperature)
        assert (contrast.expert_top_k, contrast.min_tokens, one.search.beams) == (50, 2, 5)
        assert contrast.temperature_form is TemperatureForm.logprob
    assert [one.search.pool for one in configs[:3]] == [Pool.local, Pool.all, Pool.local]
    assert (published.prompts.source.value, published.prompts.prompt_tokens, published.prompts.limit) == (
        "wikitext103",
        32,
        None,
    )


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("preset", "architecture"),
    [("paper_gpt2xl", "gpt2"), pytest.param("paper_opt13b", "opt", marks=pytest.mark.nightly)],
)
def test_a_papers_preset_runs_on_stand_ins(  # one command, every arm
    preset: str, architecture: str, prompts_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("expert", "amateur")):
        build_model(architecture, seed).save_pretrained(tmp_path / name)
        build_tokenizer().save_pretrained(tmp_path / name)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            *("cdeval.run", f"+preset={preset}", f"runs={tmp_path / 'runs'}"),
            *(f"expert.name={tmp_path / 'expert'}", f"amateur.name={tmp_path / 'amateur'}", "amateur.layer=2"),
            *("prompts=file", f"prompts.path={prompts_file}", "prompts.prompt_tokens=8", "tracking=none"),
            *("search.max_new_tokens=5", "metrics.only=[words]", "cost.latency_repeats=0"),
        ],
    )
    run_command(run)
    folders = [path.parent.name for path in (tmp_path / "runs" / preset).glob("*/summary.json")]
    assert len(folders) == 12, "11 arms, of which the beam and the greedy one are also controls, and the human texts"
    assert sum(name.startswith("early_exit") for name in folders) == 2
