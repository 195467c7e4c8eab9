"""Bad input to every command: one clear line, exit 2, nothing written; bounds stand beside each setting and hold."""

import math
import sys
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from cdeval.bench.config import BenchRun
from cdeval.cli import run_command, run_schema
from cdeval.config.fields import Leaf, TextForm, check_values, leaves, value_of
from cdeval.config.schema import AmateurConfig, ContrastConfig, MetricsConfig, RunConfig
from cdeval.config.unread import changed, check_read
from cdeval.errors import ConfigError
from cdeval.metrics.mauve import MEASURES
from tests.studies.test_documented_commands import SCHEMAS

ROOTS: dict[str, type] = {"run": RunConfig, "bench": BenchRun, **{name: one.root for name, one in SCHEMAS.items()}}
ALL = [(command, leaf) for command, root in ROOTS.items() for leaf in leaves(root).values()]
NUMBERS = [(command, leaf) for command, leaf in ALL if {int, float} & ({leaf.kind} | set(get_args(leaf.kind)))]
NAMES = [f"{command} {leaf.name}" for command, leaf in NUMBERS]


def with_value(config: Any, name: str, value: object) -> Any:
    """The configuration with another value of one setting."""
    first, _, rest = name.partition(".")
    return replace(config, **{first: with_value(getattr(config, first), rest, value) if rest else value})


@pytest.mark.parametrize(("command", "leaf"), NUMBERS, ids=NAMES)
def test_every_number_has_bounds_on_both_sides_and_they_hold(command: str, leaf: Leaf) -> None:
    """A value that hangs or fills memory is refused before anything is opened."""
    assert leaf.rules.range is not None, f"{leaf.name} has no range: declare it by number(...) beside the setting"
    plain = ROOTS[command]()
    check_values(with_value(plain, leaf.name, leaf.default))
    strange: list[object] = [math.nan, math.inf, -math.inf, 10**30, -(10**30), True, "many", -1e308]
    for value in strange:
        given = [value] if isinstance(leaf.default, list) else value
        with pytest.raises(ConfigError) as refused:
            check_values(with_value(plain, leaf.name, given))
        assert str(refused.value).startswith(f"{leaf.name}=")
        assert "expected" in str(refused.value)


@pytest.mark.parametrize(("text", "said"), [
    ("a\0b", "control character"), ("a\nb", "control character"), ("\x1b[2J", "control character"),
    ("\u2028", "control character"), ("é" * 128, "256 bytes between slashes"), ("a/" * 3000, "6000 bytes"),
    ("\udcff", "not UTF-8"), ("", "is empty"),
])  # fmt: skip
def test_text_that_can_name_nothing_is_refused_everywhere(text: str, said: str) -> None:
    for command, leaf in ALL:
        if leaf.text in (TextForm.line, TextForm.lines):
            given = [text] if leaf.text is TextForm.lines else text
            with pytest.raises(ConfigError) as refused:
                check_values(with_value(ROOTS[command](), leaf.name, given))
            assert said in str(refused.value)
            assert leaf.name in str(refused.value)
            assert str(refused.value).isprintable(), "a message holds no control characters of its own"


def test_text_of_any_language_names_what_it_likes() -> None:
    for text in ("é", "中文", "a (1)", "ends.", "שלום", "\u200d", "a" * 255, "/".join(["é" * 127] * 8)):
        check_values(with_value(RunConfig(), "runs", text))
    check_values(with_value(ROOTS["trace"](), "prompt", "two\nlines " * 1000))


def test_every_condition_names_a_setting_that_some_command_has_and_says_what_to_do() -> None:
    known = {name for root in ROOTS.values() for name in leaves(root)}
    for _, leaf in ALL:
        for when in leaf.when:
            assert when.setting in known
            remedy = when.remedy if isinstance(when.remedy, str) else when.remedy()
            assert remedy.split()[0] in ("add", "give", "leave"), remedy


def test_conditions_on_metrics_name_the_metrics_that_read() -> None:
    for setting, names in (
        ("mauve_seeds", MEASURES),
        ("scorer", ("perplexity_expert", "coherence_loglik")),
        ("embedder", ("coherence",)),
    ):
        for name in names:
            config = RunConfig(metrics=MetricsConfig(only=[name]))
            config = with_value(config, f"metrics.{setting}", 7 if setting == "mauve_seeds" else "other")
            check_read([(config, changed(config))])
        config = with_value(config, "metrics.only", ["words"])
        with pytest.raises(ConfigError, match=f"metrics.{setting}=.* is not read with metrics.only"):
            check_read([(config, changed(config))])


def test_settings_made_in_python_are_asked_who_reads_them() -> None:
    config = RunConfig(amateur=AmateurConfig(kind="none"), contrast=ContrastConfig(alpha=0.5))
    with pytest.raises(ConfigError, match=r"contrast\.alpha=0\.5 is not read with amateur=none"):
        check_read([(config, changed(config))])
    assert not is_dataclass(value_of(config, "contrast.alpha"))


# What is typed, and a part of the message.
TYPED: list[tuple[str, str]] = [
    ("run contrast=null", "contrast= takes one of default"),
    ("run amateur=null", "takes one of calm, checkpoint"),
    ("run contrast=0.3", "takes one of default"),
    ("run expert=é", "expert.name=…"),
    ("run expert=a/b expert.dtype=half", "expected one of [auto, float32"),
    ("run ~contrast", "would take settings out"),
    ("run ~search.beams", "would take settings out"),
    ("run seed=null", "seed needs a value"),
    ("run study=null", "study needs a value"),
    ("run controls=2", "expected true or false"),
    ("run metrics.only=diversity", "expected a list. Type metrics.only=[diversity]."),
    ("run metrics.only=diversity,words", "expected a list. Type metrics.only=[diversity,words]."),
    ("run metrics.only=[diversity,words", "expected a list. Type metrics.only=[diversity,words]."),
    ("run amateur.layer=[20,24", "'amateur.layer=[20,24' cannot be read: a ] is missing."),
    ("run contrast.alpha=0.3)", "cannot be read: expected one value."),
    ("run --cfg job contrast.alpha=0.1,0.2", "contrast.alpha=0.1,0.2 has several values, and --cfg is about one"),
    ("run expert=distilgpt2", "is expert=hub expert.name=distilgpt2."),
    ("run +foo=3", "unknown setting 'foo'"),
    ("run ++contrast.foo=3", "there is no 'foo' in contrast"),
    ("run contrast.alpha.x=3", "no settings of its own"),
    ("run foo", "'foo' is no setting: expected name=value"),
    ("run seed=18446744073709551616", "expected 0 to 2000000000"),
    ("run search=sample search.samples=100000000", "expected 1 to 10000"),
    ("run search.beams=100000000000000000000", "expected 1 to 1000"),
    ("run cost.latency_repeats=100000000000000000000", "cost.latency_repeats=100000000000000000000 is out of range"),
    ("run metrics.bootstrap_draws=1000000000000", "metrics.bootstrap_draws=1000000000000 is out of range"),
    ("run metrics.confidence=0.9999999999999999", "(0, 0.999]"),
    ("run amateur.layer={a:1}", "no settings of its own"),
    ("run contrast.min_p=0.2", "add contrast.plausibility=min_p, or leave contrast.min_p out"),
    ("run contrast.plausibility=top_h contrast.min_p=0.2", "not read with contrast.plausibility=top_h"),
    ("run contrast.plausibility=min_p contrast.min_p=0", "contrast.min_p=0.0 is out of range: expected a number in (0"),
    ("run contrast.plausibility=top_k contrast.top_k=0", "contrast.top_k=0 is out of range: expected 1 to 10000000"),
    ("run contrast.plausibility=top_n_sigma contrast.n_sigma=-1", "contrast.n_sigma=-1.0 is out of range"),
    ("run contrast.plausibility=top_h contrast.h=1.5", "contrast.h=1.5 is out of range: expected a number in (0, 1]"),
    ("run contrast.plausibility=top_h contrast.top_h_form=exact", "expected one of [cumulative, renormalised]"),
    ("run contrast.plausibility=p_less contrast.p_less_norm=2", "expected true or false"),
    ("run contrast.plausibility=top_n", "there is none of that name. Did you mean 'top_"),
    ("run contrast.plausibility=min_p contrast.alpha=0.2", "not read with contrast.plausibility=min_p"),
    ("run amateur=none contrast.plausibility=min_p contrast.beta=2", "contrast.beta=2.0 is not read with amateur=none"),
    ("run amateur=none contrast.min_tokens=2", "or a rule, as contrast.plausibility=alpha"),
    ("run search=contrastive_search amateur=none contrast.plausibility=min_p", "Use search=greedy, beam or sample"),
    ("trace prompt=x amateur=none contrast.top_p=0.5", "add contrast.plausibility=nucleus"),
    ("run prompts.path=x", "add prompts=file"),
    ("run amateur.name=gpt2", "add amateur=model"),
    ("run amateur.threshold=0.5", "add amateur.selection=confidence"),
    ("run amateur=none contrast.alpha=0.2", "not read with amateur=none"),
    ("run amateur=none contrast={alpha:0.2}", "not read with amateur=none"),
    ("run +arm=beam contrast.alpha=0.2", "not read with amateur=none"),
    ("run --multirun search.penalty=0.1,0.2", "add search=contrastive_search"),
    ("run --multirun hydra/launcher=basic search.penalty=0.1,0.2", "add search=contrastive_search"),
    ("run protocol=dola2023 amateur=truncated", "(protocol=dola2023) is not read with amateur=truncated"),
    ("run tracking=none tracking.mode=online", "add tracking=wandb"),
    ("run cost.latency_repeats=0 cost.isolated=false", "give cost.latency_repeats=3"),
    ("run search=greedy search.pool=local", "add search=beam"),
    ("run expert.weights=random prompts=wiki", "add expert.weights=stored"),
    ("score generations=x key=y", "add votes="),
    ("score generations=x pairs.limit=5", "add export=pairs"),
    ("score generations=x fields=null", "fields has settings"),
    ("lens fit.steps=3", "add train=true"),
    ("lens prompt=x positions=7", "leave prompt= out"),
    ("lens study=a layers=3", "leave study= out"),
    ("trace prompt=x prompts=wiki", "give id="),
    ("calibrate thresholds=[nan]", "thresholds=[nan] is out of range"),
    ("price beams=100000000000000000000", "expected 1 to 1000"),
    ("dashboard study=x entity=", "entity= is empty"),
]

Command = Callable[[str], tuple[int | None, int, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The exit code, how many points a command would have run, and what it said."""
    monkeypatch.chdir(tmp_path)

    def type_in(line: str) -> tuple[int | None, int, str]:
        command, *arguments = line.split()
        points: list[object] = []
        code: Any = None
        monkeypatch.setattr(sys, "argv", [f"cdeval.{command}", *arguments])
        try:
            if command == "run":
                run_command(lambda configs: points.extend(configs) or [])  # type: ignore[func-returns-value]
            else:
                run_schema(points.append, SCHEMAS[command], command)
        except SystemExit as stopped:
            code = stopped.code
        return code, len(points), capsys.readouterr().err

    return type_in


@pytest.mark.parametrize(("line", "said"), TYPED, ids=[line for line, _ in TYPED])
def test_bad_input_gets_a_clear_line_and_nothing_is_written(
    line: str, said: str, typed: Command, tmp_path: Path
) -> None:
    code, points, message = typed(line)
    assert (code, points) == (2, 0)
    assert said in message
    assert "Traceback" not in message
    if "hydra/launcher" not in line:  # Hydra's own launchers say more
        assert message.startswith("error: ")
        assert message.count("\n") == 1
    assert not list(tmp_path.rglob("*.json*"))


@pytest.mark.parametrize(
    ("line", "points"),
    [
        ("run --multirun +arm=beam,early_exit contrast.alpha=0.2", 2),
        ("run --multirun hydra/launcher=basic +arm=beam,early_exit contrast.alpha=0.2", 2),
        ("run +preset=paper_gpt2xl +arm=gpt2 hydra.mode=RUN", 1),
        ("run +preset=paper_gpt2xl amateur=none hydra.mode=RUN", 1),
        ("run protocol=li2022 amateur=none", 1),
        ("run amateur=none amateur.layer=null", 1),
        ("run amateur=none contrast.plausibility=min_p contrast.min_p=0.05 search=sample", 1),
        ("run amateur=none contrast.plausibility=alpha contrast.alpha=0.05 contrast.min_tokens=2", 1),
        ("run --multirun contrast.plausibility=min_p,top_h contrast.min_p=0.2 contrast.h=0.5", 2),
        ("trace prompt=x amateur=none contrast.plausibility=p_less contrast.p_less_norm=true", 1),
        ("calibrate search.adaptive_exit.layers=[28]", 1),
        ("score generations=x metrics.only=[words] expert=gpt2", 1),
    ],
)
def test_what_one_point_reads_may_be_given_and_bundles_may_hold_more(line: str, points: int, typed: Command) -> None:
    assert typed(line)[:2] == (None, points)


def test_a_users_own_files_are_asked_likewise(typed: Command, tmp_path: Path) -> None:
    (tmp_path / "amateur").mkdir()
    (tmp_path / "amateur" / "mine.yaml").write_text("kind: truncated\nlayer: 4\nthreshold: 0.9\n")
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "own.yaml").write_text("# @package _global_\nsearch:\n  penalty: 0.4\n")
    code, _, message = typed(f"run --config-dir={tmp_path} amateur=mine")
    assert (code, "amateur.threshold=0.9 (mine.yaml) is not read" in message) == (2, True)
    code, _, message = typed(f"run --config-dir={tmp_path} +preset=own")
    assert (code, "search.penalty=0.4 (own.yaml) is not read with search=beam" in message) == (2, True)
    assert typed(f"run --config-dir={tmp_path} +preset=own search=greedy")[:2] == (None, 1), "the command line chose"
