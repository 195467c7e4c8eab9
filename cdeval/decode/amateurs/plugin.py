"""A user's own kind of amateur: a function of the expert's logits, or a class with a state of its own.

    @amateur("blurred", share=0.1)                 # amateur=blurred amateur.share=0.2
    def blurred(logits, uniform, share):           # [lane, beam, vocab] each -> logits of the same shape
        return torch.where(uniform < share, logits.mean(-1, keepdim=True), logits)

A function takes what it needs by name: `logits` (the expert's own), `uniform` (random numbers in (0, 1), the same for a
seed, prompt, sample and step, whatever is decoded beside them; the beams of a lane share them), and its settings.

A class is a `Source` (`amateurs.kind`): it is made anew for each batch as `Kind(expert, lanes, **settings)`. With a
static method `load(expert, **settings)`, called once a study, it is made as `Kind(loaded, expert, lanes, **settings)`.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.amateur import AMATEURS, Amateur, AmateurKind
from cdeval.config.enums import Normalizer
from cdeval.config.methods import Origin, declared
from cdeval.config.paths import CONF
from cdeval.config.schema import RunConfig
from cdeval.decode.amateurs.kind import AmateurModel, Digested, Source
from cdeval.decode.draws import draw_keys, stack_keys, token_bits, uniforms
from cdeval.decode.guard import plugin_errors
from cdeval.decode.lanes import Lane
from cdeval.errors import ConfigError
from cdeval.models.loading import LanguageModel
from cdeval.prompts.load import PromptSet

C = TypeVar("C", bound=Callable[..., Any])

_GIVEN = ("logits", "uniform")  # to a function, beside its settings
_METHODS = ("prefill", "read", "reorder", "compact", "logits")  # of a class


def amateur(name: str, *, flops: float = math.nan, traffic: float = math.nan, **settings: Any) -> Callable[[C], C]:
    """Register a kind of amateur: a decorator of a function or a class.

    Args:
        name: that `amateur=` takes.
        flops: that it takes for a token and beam beside the expert's; NaN: unknown. A model that `load` returns counts
            by itself.
        traffic: bytes that it moves for a token and beam, likewise.
        settings: its own settings by name, with their defaults or what `cdeval.number` makes of default and range.

    Raises: ConfigError: a name is taken, a setting has no default, or the code takes other arguments.
    """

    def decorated(code: C) -> C:
        AMATEURS.add(PluginKind(name, code, flops, traffic, settings))
        return code

    return decorated


class PluginKind(AmateurKind):
    """A kind of a user's own."""

    def __init__(
        self, name: str, code: Callable[..., Any], flops: float, traffic: float, settings: Mapping[str, Any]
    ) -> None:
        """Check what was registered. Raises: ConfigError: as `amateur`."""
        self.name, self._code, self._flops, self._traffic = name, code, flops, traffic
        self.origin = Origin.from_code(code)
        self.settings = declared(name, settings, self.origin.where)
        if (CONF / "amateur" / f"{name}.yaml").is_file():
            raise ConfigError(f"amateur={name} ({self.origin.where}) is a name of cdeval's own: rename it.")
        if inspect.isclass(code):
            missing = [method for method in _METHODS if not callable(getattr(code, method, None))]
            if missing:
                raise ConfigError(
                    f"amateur={name} ({self.origin.where}) has no method {missing[0]}: expected {', '.join(_METHODS)}."
                )
            return
        taken = list(inspect.signature(code).parameters)
        unknown = [one for one in taken if one not in (*_GIVEN, *settings)]
        unread = [one for one in settings if one not in taken]
        if unknown or unread:
            raise ConfigError(
                f"amateur={name} ({self.origin.where}) takes {', '.join(taken)}: expected {' or '.join(_GIVEN)}, "
                f"and its settings {', '.join(settings) or '(it has none)'}."
            )
        self.draws = "uniform" in taken

    def load(self, opened: None, config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> AmateurModel | None:
        """Load a class's own model, if it has one. Raises: ModelError: it raises, or returns something else."""
        load = getattr(self._code, "load", None)
        if load is None:
            return None
        with plugin_errors(self, AMATEURS.setting):
            found: object = load(expert, **dict(self.values(config.amateur)))
        if not isinstance(found, LanguageModel | Digested):
            raise self.failure(
                AMATEURS.setting,
                f"loaded {type(found).__name__}: expected a model (cdeval.api.load) or an object with a `digest`",
            )
        return found

    def source(
        self, amateur: Amateur, loaded: AmateurModel | None, expert: LanguageModel, lanes: Sequence[Lane]
    ) -> Source:
        """Make the class's object or wrap the function, so that its errors name it."""
        settings = dict(amateur.settings)
        if not inspect.isclass(self._code):
            return _GuardedSource(self, _FunctionSource(self._code, self.draws, expert, lanes, settings))
        made = (expert, lanes) if loaded is None else (loaded, expert, lanes)
        with plugin_errors(self, AMATEURS.setting):
            return _GuardedSource(self, self._code(*made, **settings))

    def flops(self, amateur: Amateur, normalizer: Normalizer, costs: Any) -> float:
        """Return what the plug-in declared, for a token and beam."""
        return float(self._flops)

    def traffic(self, amateur: Amateur, normalizer: Normalizer, costs: Any, rows: int) -> float:
        """Return what the plug-in declared, for all rows."""
        return float(rows * self._traffic)


class _FunctionSource:
    """A function of the expert's logits and of the step."""

    peak_slots = 0

    def __init__(
        self,
        code: Callable[..., Any],
        draws: bool,
        expert: LanguageModel,
        lanes: Sequence[Lane],
        settings: dict[str, Any],
    ) -> None:
        self._code, self._settings, self._step = code, settings, 0
        self._takes_logits = "logits" in inspect.signature(code).parameters
        self._keys: Int[Tensor, "lane step 2"] | None = None
        if draws:
            # Numbers of their own: those that sampling draws tokens by belong to the same seed, prompt and sample.
            steps = lanes[0].setting.max_new_tokens
            keys = [draw_keys(one.setting.sampling.seed, f"amateur\0{one.id}", one.sample, steps) for one in lanes]
            self._keys = stack_keys(keys, expert.device)
            self._bits = token_bits(expert.parts.head_weight.shape[0], expert.device)

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Do nothing: only the expert reads the prompts."""

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """Count the step."""
        self._step += 1

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Do nothing: beams have no state."""

    def compact(self) -> None:
        """Do nothing: there is nothing to drop."""

    def logits(self, expert: Float[Tensor, "lane beam vocab"]) -> Any:
        """Call the function."""
        given: dict[str, Any] = dict(self._settings)
        if self._takes_logits:
            given["logits"] = expert.clone()
        if self._keys is not None:
            given["uniform"] = uniforms(self._bits[None, None], self._keys[:, self._step]).expand_as(expert)
        return self._code(**given)


class _GuardedSource:
    """A plug-in's source whose errors name the plug-in."""

    def __init__(self, kind: PluginKind, source: Any) -> None:
        self._kind, self._source = kind, source

    @property
    def peak_slots(self) -> int:
        """Most key-value slots a lane held at once."""
        return int(getattr(self._source, "peak_slots", 0))

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read the lanes' prompts."""
        self._call("prefill", prompts)

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """Read the last tokens of all beams."""
        self._call("read", tokens)

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]."""
        self._call("reorder", parent)

    def compact(self) -> None:
        """Drop what no living beam descends from."""
        self._call("compact")

    def logits(self, expert: Float[Tensor, "lane beam vocab"]) -> Float[Tensor, "lane beam vocab"]:
        """Ask for the logits and check them. Raises: ModelError: it raises, or they are no logits."""
        found = self._call("logits", expert)
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape != expert.shape:
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise self._kind.failure(
                AMATEURS.setting, f"returned {got}: expected logits, numbers of shape {list(expert.shape)}"
            )
        return found

    def _call(self, method: str, *given: object) -> object:
        with plugin_errors(self._kind, AMATEURS.setting):
            found: object = getattr(self._source, method)(*given)
        return found
