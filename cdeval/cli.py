"""The parts that all commands share: Hydra composes the settings; a mistake gets one clear message and exit code 2."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, cast

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from cdeval.config.amateur import AMATEURS
from cdeval.config.arguments import as_settings, named_files
from cdeval.config.fields import check_values, expand_paths, leaves, plain_values
from cdeval.config.given import BUNDLES, given_by
from cdeval.config.letters import as_meant
from cdeval.config.methods import extended
from cdeval.config.overrides import check_key, check_overrides
from cdeval.config.paths import CONF
from cdeval.config.plugins import check_loaded, load_plugins, named_plugins
from cdeval.config.readable import in_our_words
from cdeval.config.schema import RunConfig
from cdeval.config.unread import Given, check_read, read_by
from cdeval.config.validation import check_place, validate
from cdeval.errors import CdevalError, ConfigError, PointError
from cdeval.models.folder import check_models
from cdeval.prompts.items import check_prompts
from cdeval.store.files import replace_file
from cdeval.store.private import expanded, masked, masked_all
from cdeval.store.progress import announced
from cdeval.store.screen import complain
from cdeval.store.signals import Stopped, terminable
from hydra_plugins.cdeval_fused import Composer

_TRACEBACKS = "HYDRA_FULL_ERROR"  # set to 1 by users who want Hydra's own tracebacks

OmegaConf.register_new_resolver("cdeval.expanded", expanded, replace=True)  # conf/ asks for it

T = TypeVar("T")


class Schema(NamedTuple, Generic[T]):
    """The schema and the checks of a command's configuration."""

    root: type[T]
    validate: Callable[[T], T]  # checks every range, returns the same object. Raises: ConfigError
    composes: bool = False  # the command composes further settings, by which is known what is read (`compose_further`)


RUN = Schema(RunConfig, validate)

_CONTINUED = "the same command continues after it"
_STORES = f"every finished batch is on disk, {_CONTINUED}"
_STORES_NOTHING = "nothing is kept of what was not finished, the same command begins anew"


class Job(Generic[T]):
    """The task that Hydra calls once a point; `cdeval`'s launcher hands over all points of a sweep at once."""

    def __init__(self, task: Callable[[Sequence[T]], Sequence[CdevalError]], schema: Schema[T]) -> None:
        self._task, self.schema = task, schema
        self._process = os.getpid()  # of the command; joblib and submitit run points in processes of their own
        self.plugins: Sequence[str] = ()  # for those processes
        self.failures: list[CdevalError] = []  # the other points of a sweep go on; all messages come at the end

    def __call__(self, composed: DictConfig) -> None:
        """Run one point.

        Raises: CdevalError: it failed in a process of its own, from which Hydra carries nothing else home.
        """
        if os.getpid() != self._process:
            load_plugins(self.plugins)
        hydra = HydraConfig.get()
        if hydra.mode is RunMode.MULTIRUN and hydra.job.num == 0 and "expert" in composed:
            launcher = hydra.runtime.choices.get("hydra/launcher")
            complain(
                f"hydra/launcher={launcher} decodes a sweep's points apart: in bfloat16 and float16 their texts may "
                "differ from those of hydra/launcher=fused, whose points share batches (last bits of logits depend on "
                "the batch); in float32 they are the same"
            )
        self.together([composed], [cast("DictConfig", hydra)])
        if self.failures and os.getpid() != self._process:
            for failure in self.failures:  # Hydra carries only the first failing point's
                complain(f"error: {failure}")
            raise self.failures[0] if len(self.failures) == 1 else ConfigError("\n  ".join(map(str, self.failures)))

    def together(self, points: Sequence[DictConfig], hydra: Sequence[DictConfig]) -> None:
        """Several points: those that are right are run, whatever is wrong with the others.

        Args: points: their settings. hydra: of each, Hydra's own part of its configuration.
        """
        if hydra[0].mode is RunMode.MULTIRUN and hydra[0].job.num == 0:
            _mask_record(Path(str(hydra[0].sweep.dir)) / "multirun.yaml")
        found: list[tuple[T, DictConfig]] = []
        for composed, its_hydra in zip(points, hydra, strict=True):
            try:
                found.append((unchecked(composed, self.schema.root), its_hydra))
            except CdevalError as error:
                self.failures.append(error)
        mistakes = early_mistakes([config for config, _ in found])
        self.failures += mistakes
        ready: list[T] = []
        given: list[tuple[object, Mapping[str, Given]]] = []
        for config, its_hydra in [] if mistakes else found:
            try:
                checked = self.schema.validate(config)
                given.append((checked, given_by(its_hydra, checked)))
                ready.append(checked)
            except CdevalError as error:
                self.failures.append(error)
        try:
            if not self.schema.composes:
                check_read(given)
            self.failures.extend(self._task(ready) if ready else [])
        except CdevalError as error:
            self.failures.append(error)


def run_command(task: Callable[[Sequence[RunConfig]], Sequence[CdevalError]], config_name: str = "run") -> None:
    """Run a command that takes many settings of a study together; otherwise as `run_schema`."""
    _run(Job(task, RUN), RUN, config_name, _STORES)


def run_schema(task: Callable[[T], None], schema: Schema[T], config_name: str) -> None:
    """Compose the configuration from the command line, run the task, exit.

    Exit codes: 2 for a user's mistake or a missing prerequisite, 130 after Ctrl-C, 143 after SIGTERM; a bug of ours
    keeps its traceback.
    """

    def each(configs: Sequence[T]) -> list[CdevalError]:
        for config in configs:
            task(config)
        return []

    _run(Job(each, schema), schema, config_name, _STORES_NOTHING)


def _run(job: Job[T], schema: Schema[T], config_name: str, when_stopped: str) -> None:
    failures = job.failures
    try:
        with terminable(), _hydra_raises(), announced(config_name, sys.argv[1:]):
            sys.argv[1:] = as_settings(sys.argv[1:])
            job.plugins = named_plugins(sys.argv[1:])
            load_plugins(job.plugins)
            schema = job.schema = schema._replace(root=cast("type[T]", extended(schema.root)))  # type: ignore[arg-type]
            _offer_amateurs()
            ConfigStore.instance().store(name="schema", node=schema.root)
            settings = leaves(schema.root)
            sys.argv[1:] = [as_meant(argument, settings) for argument in named_files(sys.argv[1:], settings)]
            if check_overrides(sys.argv[1:], schema.root) and config_name == "run":
                sys.argv.insert(1, "--multirun")
            OmegaConf.register_new_resolver("cdeval.groups", partial(_groups, schema.root), replace=True)
            hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(job)()
    except CdevalError as error:
        failures.append(error)
    except (HydraException, OmegaConfBaseException, OSError) as error:
        known = None if os.environ.get(_TRACEBACKS) == "1" else in_our_words(error)
        if known is None:
            raise
        failures.append(known)
    except KeyboardInterrupt as stopped:
        saved = stopped.saved if isinstance(stopped, Stopped) else ""
        complain(f"stopped; {f'{saved}, {_CONTINUED}' if saved else when_stopped}")
        sys.exit(128 + (stopped.number if isinstance(stopped, Stopped) else signal.SIGINT))
    for failure in failures:
        complain(f"error: {failure}")
    retried = sum(isinstance(failure, PointError) for failure in failures)
    if retried:
        complain(
            f"{retried} failed; the same command again tries them once more (retry=false leaves them) and reuses the "
            "rest"
        )
    if failures:
        sys.exit(2)


def _groups(root: type) -> str:
    """List the groups of files that a command takes, with their choices, for its --help; bundles are the study's."""
    loader = GlobalHydra.instance().config_loader()
    names = [one.name for one in fields(root) if (CONF / one.name).is_dir()]
    lines = {
        name: loader.get_group_options(name) for name in [*names, *(BUNDLES if issubclass(root, RunConfig) else ())]
    }
    return "".join(f"{name}: {', '.join(sorted(lines[name]))}\n" for name in sorted(lines))


def _offer_amateurs() -> None:
    """Let `amateur=` take the kinds of plug-ins, with their settings' defaults."""
    for kind in AMATEURS.plugged():
        node = {"kind": kind.name, **{name: one.default for name, one in kind.settings.items()}}
        ConfigStore.instance().store(group="amateur", name=kind.name, node=node)


def _mask_record(path: Path) -> None:
    """Mask the home folder in Hydra's own record of a sweep, which lies in the study's folder."""
    if path.is_file() and masked(text := path.read_text("utf-8")) != text:
        record = masked_all(OmegaConf.to_container(OmegaConf.create(text), resolve=False))
        replace_file(path, OmegaConf.to_yaml(record).encode())


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Let Hydra raise instead of printing and exiting with 1."""
    before = os.environ.get(_TRACEBACKS)
    os.environ[_TRACEBACKS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_TRACEBACKS]
        else:
            os.environ[_TRACEBACKS] = before


def early_mistakes(configs: Sequence[object]) -> list[CdevalError]:
    """Find what ranges and files say against all points, before a check loads torch, which takes seconds.

    Returns: each mistake once; none where a point is right, since the others fail beside it as points of its study do.
    """
    found: dict[str, CdevalError] = {}
    for config in configs:
        try:
            check_values(config)
            read = {leaf.name for leaf in read_by(config)}
            check_prompts(config, read)
            check_models(config, read)
            check_place(config)
        except CdevalError as error:
            found[str(error)] = error
        else:
            return []
    return list(found.values())


def unchecked(composed: DictConfig, root: type[T]) -> T:
    """The composed text as the dataclasses of a schema, whose values are still to be checked.

    Raises: ConfigError: a key that the schema does not have (`+key=` and YAML files can bring some), a value missing, a
        plug-in that is not loaded.
    """
    plain = cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True, enum_to_str=True))
    _reject_unknown(plain, root, "")
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise ConfigError(f"{missing[0]} has no value: give one, as {missing[0]}=...")
    config = cast("T", OmegaConf.to_object(composed))
    expand_paths(config)
    check_loaded(config)
    return config


def compose_further(lines: Sequence[Sequence[str]], root: type[T]) -> list[T]:
    """Compose settings inside a running command: what was typed, and then the overrides of each line.

    Args: lines: overrides. root: the dataclass of the command's configuration.
    Raises: ConfigError: a setting is wrong, or no line reads something that was typed.
    """
    composer, command = Composer(GlobalHydra.instance().config_loader()), cast("DictConfig", HydraConfig.instance().cfg)
    overrides = list(command.hydra.overrides.task)
    found: list[tuple[T, Mapping[str, Given]]] = []
    for line in lines:
        composed = composer.take(command, [*overrides, *line])
        its_hydra = composed.hydra
        with read_write(composed), open_dict(composed):
            del composed["hydra"]
        config = unchecked(composed, root)
        found.append((config, given_by(its_hydra, config)))
    check_read(found)
    return [config for config, _ in found]


def known_arms() -> list[str]:
    """Names of the files that `+arm=` takes, those of the user's own folders included."""
    return list(GlobalHydra.instance().config_loader().get_group_options("arm"))


def plain_dict(config: object) -> dict[str, Any]:
    """The configuration as JSON-ready values, enums by name."""
    return cast("dict[str, Any]", plain_values(config))


def _reject_unknown(values: Mapping[str, Any], root: type, path: str) -> None:
    for key, value in values.items():
        full = f"{path}.{key}" if path else key
        check_key(full, root)
        if isinstance(value, Mapping):
            _reject_unknown(value, root, full)
