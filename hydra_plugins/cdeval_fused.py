"""Hydra's door to fused sweeps: Hydra takes launchers from the namespace package `hydra_plugins` alone.

`hydra/launcher=fused`, the default of `cdeval.run`, composes all points of a sweep and hands them to the command at
once, so that settings which share models and prompts share forward passes. Hydra's own launchers (basic, joblib,
submitit) run the same sweep point by point.
"""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException


@dataclass
class FusedLauncherConf:
    """Its configuration: nothing to set."""

    _target_: str = "hydra_plugins.cdeval_fused.FusedLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="fused", node=FusedLauncherConf, provider="cdeval")


class Composer:
    """Hydra's configuration loader, which composes the points of a sweep from what they share.

    Hydra composes every point from its YAML files, and twice: once to validate the sweep, and once to run it. Points
    that choose the same files differ in single values only: the files are composed once for all of them, the values
    are set in a copy, and a point that was validated is not composed again. Whatever is not a plain `key=value` is left
    to Hydra, and so is every value that cannot be set, so that the message is Hydra's own.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, Override] = {}  # the points of a sweep are made of few different overrides
        self._groups: dict[str, bool] = {}  # by key: whether it is a config group
        self._shared: dict[tuple[str, ...], DictConfig] = {}  # by the choices of files
        self._composed: dict[tuple[str, ...], DictConfig] = {}  # points that are composed and not yet taken

    def __getattr__(self, name: str) -> object:
        """Everything else is the loader's."""
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A point's configuration, as `ConfigLoader.load_sweep_config`; it is kept until it is taken."""
        key = tuple(sweep_overrides)
        if key not in self._composed:
            self._composed[key] = self._quickly(master_config, sweep_overrides) or self._loader.load_sweep_config(
                master_config, sweep_overrides
            )
        return self._composed[key]

    def take(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The same, and the caller's own from now on."""
        found = self.load_sweep_config(master_config, sweep_overrides)
        del self._composed[tuple(sweep_overrides)]
        return found

    def _quickly(self, master_config: DictConfig, overrides: list[str]) -> DictConfig | None:
        """The point from what it shares with others; None where only Hydra can compose it."""
        try:
            parsed = [self._parse(text) for text in overrides]
            choices = [one for one in parsed if self._chooses_file(one, master_config)]
            values = [one for one in parsed if one not in choices]
            if any(one.type is not OverrideType.CHANGE or one.package is not None for one in values):
                return None
            files = tuple(str(one.input_line) for one in choices)
            if files not in self._shared:
                self._shared[files] = self._loader.load_sweep_config(master_config, list(files))
            found = copy.deepcopy(self._shared[files])
            for one in values:
                OmegaConf.update(found, one.key_or_group, one.value(), merge=True)
        except (HydraException, OmegaConfBaseException):
            return None
        with read_write(found), open_dict(found):
            # Hydra's own text of a point's overrides; `_run_app` names folders by it where a user asks for that.
            job = found.hydra.job
            names = job.config.override_dirname
            lines = [one.input_line for one in parsed if one.key_or_group not in names.exclude_keys]
            job.override_dirname = names.item_sep.join(sorted(lines)).replace("=", names.kv_sep)
            found.hydra.overrides.task = [one.input_line for one in parsed]
        OmegaConf.copy_cache(from_config=master_config, to_config=found)
        return found

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_override(text)
        return self._parsed[text]

    def _chooses_file(self, override: Override, master_config: DictConfig) -> bool:
        """Whether it chooses a file of a config group, as Hydra decides it; a key with a dot is a single value's."""
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = "." not in key and bool(
                self._loader.get_group_options(
                    key,
                    ObjectType.CONFIG,
                    config_name=master_config.hydra.job.config_name,
                    overrides=list(master_config.hydra.overrides.hydra),
                )
            )
        return self._groups[key] and not isinstance(override.value(), dict)


class FusedLauncher(Launcher):
    """All points of a sweep in one call of the command's `together`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Told by Hydra once, before the points are validated and launched."""
        self._composer = Composer(hydra_context.config_loader)
        hydra_context.config_loader = self._composer  # type: ignore[assignment]  # the sweeper validates by it
        self._task, self._config = task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose the points and run them; one return a point, as Hydra's launchers do."""
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        returns = [self._composed(overrides, initial_job_idx + place) for place, overrides in enumerate(job_overrides)]
        HydraConfig.instance().set_config(returns[-1].hydra_cfg)  # a program's task may ask for it
        together = getattr(self._task, "together", None)
        points = [found.cfg for found in returns]
        if together is None:  # another program's task: one point after the other
            for point in points:
                self._task(point)
        else:
            together(points, [found.hydra_cfg.hydra for found in returns])
        for found in returns:
            found.return_value, found.status = None, JobStatus.COMPLETED
        return returns

    def _composed(self, overrides: Sequence[str], number: int) -> JobReturn:
        config = self._composer.take(self._config, list(overrides))
        with read_write(config), open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        own = config.copy()
        with read_write(own), open_dict(own):
            del own["hydra"]
        return JobReturn(
            overrides=list(OmegaConf.to_container(config.hydra.overrides.task)),  # type: ignore[arg-type]
            cfg=own,
            hydra_cfg=config,
            working_dir=os.getcwd(),
            task_name=config.hydra.job.name,
        )
