"""The points of a fused sweep: composed once, from what they share, and to Hydra's letter."""

import itertools
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import pytest
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cdeval.cli import plain_dict
from cdeval.config.fields import KEY, Rules
from cdeval.config.paths import CONF
from cdeval.config.schema import RunConfig
from hydra_plugins.cdeval_fused import Composer

COMMON = ["study=grid", "prompts.limit=2", "metrics.only=[words]"]
POINTS = [
    [*COMMON, "amateur.layer=10", "contrast.alpha=0.1"],
    [*COMMON, "+arm=beam", "contrast.alpha=0.1"],
    [*COMMON, "contrast.alpha=0.2", "search=greedy", "+preset=smoke"],
    ["amateur=none", "search.beams=2", "expert.name='a b=c,d'", "prompts.limit=null"],
    ["seed=3", "search={beams:4}"],
    ["contrast.alpha=0.1", "+more=4"],
    ["~tracking", "seed=1"],
    ["contrast.beta=2", "contrast.beta=3", "amateur.layer=[3,0.5]"],
]


@pytest.fixture
def hydra() -> Iterator[tuple[object, DictConfig]]:
    """Hydra's loader, and the sweep that the points belong to."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield loader, loader.load_configuration("run", ["hydra.verbose=true"], RunMode.MULTIRUN)


@pytest.mark.parametrize("overrides", POINTS, ids=" ".join)
def test_a_point_is_what_hydra_composes(hydra: tuple, overrides: list[str]) -> None:
    """Down to what Hydra writes of its own; a second point of the same files must not see the first one's values."""
    loader, sweep = hydra
    composer = Composer(loader)
    composer.load_sweep_config(sweep, [*COMMON, "contrast.alpha=0.7"])
    expected = loader.load_sweep_config(sweep, list(overrides))
    assert OmegaConf.to_yaml(composer.take(sweep, list(overrides))) == OmegaConf.to_yaml(expected)


@pytest.mark.parametrize(
    "wrong", ["search.bems=3", "search=no_such_file", "search.beams=many", "+search.beams=3", "~search.beams"]
)
def test_what_is_wrong_with_a_point_is_said_in_hydras_words(hydra: tuple, wrong: str) -> None:
    loader, sweep = hydra
    with pytest.raises(HydraException) as theirs:
        loader.load_sweep_config(sweep, [*COMMON, wrong])
    with pytest.raises(HydraException) as ours:
        Composer(loader).load_sweep_config(sweep, [*COMMON, wrong])
    assert str(ours.value) == str(theirs.value)


def test_the_files_are_read_once_for_all_points_that_choose_them(hydra: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra validates a sweep and then composes each point again, from all its files each time."""
    loader, sweep = hydra
    composed = []
    whole = type(loader).load_configuration
    monkeypatch.setattr(
        type(loader), "load_configuration", lambda *args, **named: composed.append(args) or whole(*args, **named)
    )
    composer = Composer(loader)
    points = [
        [*COMMON, f"contrast.alpha={alpha}", search]
        for alpha, search in itertools.product((0.1, 0.2, 0.3), ("search=beam", "search=greedy"))
    ]
    for point in points:
        composer.load_sweep_config(sweep, list(point))  # the sweeper's validation
    taken = [composer.take(sweep, list(point)) for point in points]
    assert len(composed) == 2
    assert [one.contrast.alpha for one in taken] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]


def drop_what_is_written_only_where_it_is_set(values: dict, config: object) -> None:
    """Run folders of older releases do not have it."""
    for entry in fields(config):  # type: ignore[arg-type]
        if entry.metadata.get(KEY, Rules()).written is not None:
            del values[entry.name]
        elif is_dataclass(getattr(config, entry.name)):
            drop_what_is_written_only_where_it_is_set(values[entry.name], getattr(config, entry.name))


def test_plain_values_are_those_of_omegaconf() -> None:
    config = RunConfig()
    config.amateur.layer = [3, 0.5]
    expected = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(expected, dict)
    drop_what_is_written_only_where_it_is_set(expected, config)
    assert plain_dict(config) == expected
