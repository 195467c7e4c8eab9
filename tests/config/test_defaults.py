"""A default is one number, whether a command takes it from `conf/` or Python from the dataclasses."""

import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from cdeval import api
from cdeval.bench.config import BenchRun
from cdeval.cli import plain_dict
from cdeval.config.fields import leaves, value_of
from cdeval.config.paths import CONF
from cdeval.config.schema import RunConfig
from tests.studies.test_documented_commands import SCHEMAS

ROOTS = {"run": RunConfig, "bench": BenchRun, **{name: schema.root for name, schema in SCHEMAS.items()}}
# amateur=early_exit is a file of conf/amateur, as are the kinds that have no layer; `decode` takes both as arguments.
# No dataclass knows a model. The tuning grids of all arms are one table in conf/tune.yaml.
IN_FILES_ALONE = {"amateur.layer", "amateur.lens", "expert.name", "spaces"}


def composed(command: str, *overrides: str) -> object:
    """What a command runs where nothing but the overrides is typed, as its dataclass."""
    ConfigStore.instance().store(name="schema", node=ROOTS[command])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_object(compose(command, list(overrides)))


@pytest.mark.parametrize("command", ROOTS)
def test_a_commands_defaults_are_those_of_its_dataclass(command: str) -> None:
    found, usual = composed(command), ROOTS[command]()
    names = leaves(ROOTS[command]).keys() - IN_FILES_ALONE
    differing = {name for name in names if value_of(found, name) != value_of(usual, name)}
    assert not differing, {name: (value_of(found, name), value_of(usual, name)) for name in differing}


def test_every_command_is_compared() -> None:
    assert set(ROOTS) == {path.stem for path in CONF.glob("*.yaml")}


@pytest.mark.parametrize("name", [path.stem for path in sorted((CONF / "search").glob("*.yaml"))])
def test_a_search_by_its_name_is_the_file_of_its_name(name: str) -> None:
    found = composed("run", f"search={name}")
    assert isinstance(found, RunConfig)
    search = api.Search(name)  # type: ignore[arg-type]
    assert plain_dict(OmegaConf.to_object(OmegaConf.structured(search))) == plain_dict(found.search)


def test_the_arguments_of_python_are_the_settings_of_a_command() -> None:
    """`decode`, `trace` and `layers` read an exit as amateur=early_exit does; prompts are as many as asked for."""
    run, lens = composed("run"), inspect.signature(api.decode).parameters["lens"].default
    assert isinstance(run, RunConfig)
    assert lens == run.amateur.lens.name
    assert inspect.signature(api.trace).parameters["lens"].default == lens
    assert inspect.signature(api.prompts_from).parameters["split"].default == run.prompts.split.name
    assert inspect.signature(api.prompts_from).parameters["max_new_tokens"].default == run.search.max_new_tokens
    assert inspect.signature(api.prompts_from).parameters["limit"].default == run.prompts.limit
    trace = composed("trace")
    assert inspect.signature(api.trace).parameters["candidates"].default == value_of(trace, "candidates")


def test_the_first_example_needs_no_numbers() -> None:
    """Kills a default that is right in conf/ alone: the usual contrast of the docs is `Contrast()`."""
    text = (Path(api.__file__).resolve().parents[1] / "conf" / "contrast" / "default.yaml").read_text("utf-8")
    assert f"alpha: {api.Contrast().alpha}" in text
    assert f"temperature: {api.Contrast().temperature}" in text
