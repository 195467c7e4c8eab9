"""The points of a study: requested arms, their controls (the expert alone under the same search), human texts."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum

from cdeval.config.amateur import Amateur
from cdeval.config.enums import SearchKind
from cdeval.config.labels import label_of
from cdeval.config.naming import shortened, slug
from cdeval.config.plausibility import ALPHA, RULES
from cdeval.config.schema import RunConfig
from cdeval.config.setting import ALONE, Setting, canonical, expert_alone, setting_of
from cdeval.config.targets import code_digests
from cdeval.config.token_weight import CONSTANT, GATE_CALL
from cdeval.records import Prompt

# How a label's signs are spelt in the name of a folder.
_IN_FOLDERS = {"α=": "a", "β=": "b", "τ=": "tau", "T=": "t", "k=": "k", "p=": "p", "λ=": "l", "σ=": "sigma", "×": "x"}
# What is new is left out where a setting has none of it, so that points keep the digests that they had before: of a
# method that is no plug-in's, of a lens that is not fitted to texts of one's own, and of an expert's exits without one.
_LEFT_OUT: Mapping[str, object] = {
    "settings": (),
    "lens_texts": None,
    "linear": False,
    "negative": None,
    "sled_tokens": None,
    "call": "",
}
_IF_NEEDED = ("adaptive_exit", "plausibility", "token_weight")  # written down where a setting has them
_READABLE_BYTES = 246  # with a hyphen and eight signs of the digest 255, the most that file systems take


class Role(Enum):
    """A row's part in the comparison."""

    arm = "arm"
    control = "control"  # the expert alone under the same search
    human = "human"


@dataclass(frozen=True, slots=True)
class Point:
    """One row of the study and one run folder."""

    role: Role
    setting: Setting | None  # None for the human reference
    label: str  # what a reader calls it
    digest: str  # SHA-256 of everything that shapes its texts: the model's weights, the prompts, the setting

    @property
    def folder(self) -> str:
        """Name of its run folder: readable, and never shared by two settings."""
        readable = self.label
        for sign, plain in _IN_FOLDERS.items():
            readable = readable.replace(sign, plain)
        return f"{shortened(slug(readable), _READABLE_BYTES)}-{self.digest[:8]}"

    @property
    def samples(self) -> int:
        """The number of texts a prompt."""
        return 1 if self.setting is None else self.setting.sampling.samples

    def facts(self) -> dict[str, object]:
        """The row as plain values: its run folder's settings are the command's, this says which of them hold here."""
        setting = _plain(self.setting) if self.setting is not None else None
        return {"label": self.label, "role": self.role.value, "digest": self.digest, "setting": setting}


def plan_points(
    configs: Sequence[RunConfig], identity: Callable[[Amateur], str], prompts: Sequence[Prompt]
) -> dict[Point, int]:
    """The study's rows, each with the place of the first configuration that wants it: arms, controls, human reference.

    What several want has one row, and an arm that is another's control is a control. The reference has a row where at
    least one prompt has one; a control stands where there is an amateur, or early exits of
    the expert, to leave out.

    Args:
        configs: the settings asked for.
        identity: says which weights make the texts of an arm.
        prompts: the same for all of them.
    """
    arms, controls = [], []
    texts = prompts_digest(prompts)
    for place, config in enumerate(configs):
        setting = setting_of(config)
        arms.append((_decoded(Role.arm, setting, identity, texts), place))
        if config.controls and not setting.is_plain:
            controls.append((_decoded(Role.control, expert_alone(setting), identity, texts), place))
    roles = {point.digest: point.role for point, _ in [*arms, *controls]}
    first = {point.digest: (point, place) for point, place in reversed([*arms, *controls])}
    points = {
        replace(first[digest][0], role=roles[digest]): first[digest][1]
        for digest in dict.fromkeys(point.digest for point, _ in [*arms, *controls])
    }
    if any(config.controls for config in configs) and any(prompt.reference is not None for prompt in prompts):
        points[Point(Role.human, None, "human", texts)] = 0
    return _told_apart(points)


def arm_digests(
    configs: Sequence[RunConfig], identity: Callable[[Amateur], str], prompts: Sequence[Prompt]
) -> list[str]:
    """Find the digest of the point that each setting asks for; arguments as of `plan_points`."""
    texts = prompts_digest(prompts)
    return [_decoded(Role.arm, setting_of(config), identity, texts).digest for config in configs]


def _told_apart(points: Mapping[Point, int]) -> dict[Point, int]:
    """Labels leave out what is rarely changed: where two are equal, the digest follows."""
    counts = Counter(point.label for point in points)
    return {
        replace(point, label=f"{point.label} #{point.digest[:6]}") if counts[point.label] > 1 else point: place
        for point, place in points.items()
    }


def stored_alone(setting: Mapping[str, object]) -> dict[str, object]:
    """Make the expert-alone control of a setting as `Point.facts` writes it; otherwise as `expert_alone`."""
    fixed = {name: asdict(value) if isinstance(value, Amateur) else value for name, value in ALONE.items()}
    kept = {name: value for name, value in setting.items() if name not in _IF_NEEDED}
    sampling = kept.get("sampling")
    if isinstance(sampling, Mapping) and not SearchKind(setting.get("search")).seeded:
        kept["sampling"] = {**sampling, "seed": 0}
    return {**kept, **{name: _plain_value(value) for name, value in fixed.items() if name not in _IF_NEEDED}}


def prompts_digest(prompts: Sequence[Prompt]) -> str:
    """SHA-256 over ids, tokens and references, and tokens without a context where there are any."""
    contexts = [[p.without_context] if p.without_context is not None else [] for p in prompts]
    own = [[p.id, p.token_ids, p.reference, p.reference_token_ids] for p in prompts]
    return _sha256([[*values, *context] for values, context in zip(own, contexts, strict=True)])


def _decoded(role: Role, setting: Setting, identity: Callable[[Amateur], str], texts: str) -> Point:
    own = canonical(setting)
    # A lens is told by its content, which is in the identity: a copy of its file elsewhere makes the same texts.
    nameless = replace(own, amateur=replace(own.amateur, lens_file=None, lens_texts=None))
    exits = own.adaptive_exit
    lens = [identity(exits.read_as)] if exits is not None and exits.read_as is not None else []
    if exits is not None:
        nameless = replace(nameless, adaptive_exit=replace(exits, lens_texts=None))
    rule = RULES[own.plausibility.rule].origin if own.plausibility != ALPHA else None
    code = [*([rule.digest] if rule is not None else []), *code_digests(own.generate, "search.generate")]
    code += code_digests(own.token_weight.call, GATE_CALL)
    digest = _sha256([identity(own.amateur), _plain(nameless), texts, *code, *lens])
    return Point(role, own, label_of(own), digest)


def _plain(setting: Setting) -> dict[str, object]:
    values = asdict(setting)
    if setting.adaptive_exit is None:
        del values["adaptive_exit"]
    if setting.plausibility == ALPHA:
        del values["plausibility"]
    if not setting.generate:
        del values["generate"]
    if setting.token_weight == CONSTANT:
        del values["token_weight"]
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, dict):
        unused = [name for name, none in _LEFT_OUT.items() if value.get(name, none) == none]
        return {name: _plain_value(inner) for name, inner in value.items() if name not in unused}
    return value.value if isinstance(value, Enum) else value


def _sha256(value: object) -> str:
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ).hexdigest()
