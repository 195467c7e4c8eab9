"""Hydra's door to fused sweeps: Hydra takes launchers from the namespace package `hydra_plugins` alone.

`hydra/launcher=fused`, the default of `cdeval.run`, composes all points of a sweep and hands them to the command at
once, so that settings which share models and prompts share forward passes. Hydra's own launchers (basic, joblib,
submitit) run the same sweep point by point.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write


@dataclass
class FusedLauncherConf:
    """Its configuration: nothing to set."""

    _target_: str = "hydra_plugins.cdeval_fused.FusedLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="fused", node=FusedLauncherConf, provider="cdeval")


class FusedLauncher(Launcher):
    """All points of a sweep in one call of the command's `together`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Told by Hydra once, before the points."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose the points and run them; one return a point, as Hydra's launchers do."""
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        returns = [self._composed(overrides, initial_job_idx + place) for place, overrides in enumerate(job_overrides)]
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
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with read_write(config), open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
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
