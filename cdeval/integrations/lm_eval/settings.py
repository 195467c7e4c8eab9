"""The settings of an arm as lm_eval's `--model_args` has them: by the names that a command of cdeval takes.

    expert.name=gpt2,amateur.layer=10,search=greedy,contrast.alpha=0.1,likelihood=contrast

What lm_eval's own models are told is understood, too: pretrained, dtype, device, batch_size.
"""

from collections.abc import Mapping
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from cdeval.cli import RUN, unchecked
from cdeval.config.arguments import as_settings, named_files
from cdeval.config.fields import leaves, shown
from cdeval.config.letters import as_meant
from cdeval.config.methods import extended
from cdeval.config.overrides import check_overrides
from cdeval.config.paths import CONF
from cdeval.config.readable import in_our_words
from cdeval.config.schema import RunConfig
from cdeval.config.unread import Given, check_read
from cdeval.errors import ConfigError, did_you_mean
from cdeval.integrations.lm_eval.arms import LikelihoodBy

USUAL = ("search.ban=none",)  # an answer may end by itself
_ALIASES = {
    "pretrained": "expert.name",
    "revision": "expert.revision",
    "dtype": "expert.dtype",
    "device": "expert.device",
    "batch_size": "execution.max_lanes",
}
_READ = ("expert", "amateur", "contrast", "search", "execution", "seed", "arm")  # groups that an arm reads
_LIKELIHOOD = "likelihood"


def arm_of(given: Mapping[str, Any]) -> tuple[RunConfig, LikelihoodBy]:
    """Compose the settings of an arm.

    Raises: ConfigError: there is no such setting, it has another type, is out of range, or nothing reads it.
    """
    own = dict(given)
    own.pop("max_batch_size", None)
    if own.pop("trust_remote_code", False):
        raise ConfigError("trust_remote_code: code of the hub is never run. Leave it out.")
    by = str(own.pop(_LIKELIHOOD, LikelihoodBy.contrast.name))
    if by not in LikelihoodBy.__members__:
        raise ConfigError(f"{_LIKELIHOOD}={by}: {did_you_mean(by, LikelihoodBy.__members__)}")
    words = [f"{_ALIASES.get(name, name)}={shown(value)}" for name, value in own.items()]
    for word in words:
        name = word.partition("=")[0].partition(".")[0]
        if name not in _READ:
            raise ConfigError(f"model_args: {word} is not read here. {did_you_mean(name, [*_READ, *_ALIASES])}")
    return _composed(words), LikelihoodBy[by]


def _composed(words: list[str]) -> RunConfig:
    root = cast("type[RunConfig]", extended(RunConfig))
    settings = leaves(root)
    lines = [as_meant(one, settings) for one in named_files(as_settings([*USUAL, *words]), settings)]
    check_overrides(lines, root)
    ConfigStore.instance().store(name="schema", node=root)
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("run", lines)
    except (HydraException, OmegaConfBaseException) as error:
        raise in_our_words(error) or error from error
    config = RUN.validate(unchecked(composed, root))
    names = [line.lstrip("+").partition("=")[0] for line in lines[len(USUAL) :]]
    check_read([(config, {name: Given() for name in names if name in settings})])
    return config
