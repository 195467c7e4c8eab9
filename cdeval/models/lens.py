r"""The lenses, which turn a block's output into what the head reads, and the file of a lens that translates.

    norm    norm(h)                     the logit lens
    raw     h                           DoLa (Chuang et al. 2023)
    tuned   norm(h + A_k h + b_k)       Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the
                                        Tuned Lens", section 3: one affine translator a layer
    linear  the same, its translator the solution of least squares (Din et al. 2023, "Jump to Conclusions")

all of them then through OPT's projection, where there is one, and the head. Translators are float32 whatever the expert
is.

A lens is a safetensors file: `layer.<k>.matrix` [width, width] and `layer.<k>.bias` [width] for each layer, and in its
metadata which expert it was trained for. It fits no other one, nor the same one in another number format.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cdeval.config.exits import Lens
from cdeval.errors import ModelError
from cdeval.models.anatomy import Parts
from cdeval.models.folder import TRAIN, check_lens_file
from cdeval.models.loading import LanguageModel
from cdeval.store.hashing import is_whole
from cdeval.store.private import masked

FORMAT = "cdeval tuned lens 1"
_DIGESTS = "digests"  # of the translators, layer by layer, in a file's metadata


class Translator(NamedTuple):
    """The affine map A h + b that is added to a block's output."""

    matrix: Float[Tensor, "width width"]
    bias: Float[Tensor, " width"]


@dataclass(frozen=True, slots=True, eq=False)
class TunedLens:
    """The translators of some layers."""

    translators: Mapping[int, Translator]  # by layer
    facts: Mapping[str, str]  # which expert, which texts, how trained: the file's metadata
    digest: str  # SHA-256 of the translators, whatever the metadata say; of a linear lens, of all that shapes them

    @property
    def trained_on(self) -> frozenset[str]:
        """Ids of the texts that it was trained on, which are no fair test of it."""
        return frozenset(json.loads(self.facts.get("text_ids", "[]")))

    def on(self, expert: LanguageModel) -> "TunedLens":
        """Move the lens to the device of the expert that it was trained for.

        Raises: ModelError: it was trained for another one.
        """
        made_for = self.facts.get("fingerprint")
        if made_for is not None and len(made_for) == 64 and not is_whole(made_for):
            raise ModelError(
                f"the lens was trained by an older cdeval, which knew {self.facts.get('expert')} by a sample of its "
                f"weights: whether that was this {expert.name} cannot be told. Train one anew by `{TRAIN}`."
            )
        if made_for != expert.fingerprint:
            raise ModelError(
                f"the lens was trained for {self.facts.get('expert')} in {self.facts.get('dtype')}, and not for "
                f"{expert.name} in {expert.dtype_name} with these weights: train one by `{TRAIN}` and the same "
                "expert settings."
            )
        here = {
            layer: Translator(*(part.to(expert.device) for part in translator))
            for layer, translator in self.translators.items()
        }
        return TunedLens(here, self.facts, self.digest)

    def for_layers(self, layers: Collection[int]) -> "TunedLens":
        """Select some of its layers. Raises: KeyError: it has no translator for one of them."""
        return replace(self, translators={layer: self.translators[layer] for layer in layers})

    def on_host(self) -> "TunedLens":
        """Move the lens to the memory of the host, to be sent to another process."""
        here = {k: Translator(*(part.cpu() for part in translator)) for k, translator in self.translators.items()}
        return replace(self, translators=here)


def translated(translator: Translator, hidden: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
    """The sum h + A h + b in float32, back in the number format of h."""
    wide = hidden.float()
    return (wide + torch.nn.functional.linear(wide, translator.matrix, translator.bias)).to(hidden.dtype)


def seen_through(
    lens: Lens, parts: Parts, hidden: Float[Tensor, "*rows width"], translator: Translator | None = None
) -> Float[Tensor, "*rows head_width"]:
    """A block's output as the head reads it. `translator` is that of a lens that translates."""
    if lens is Lens.raw:
        return parts.projected(hidden)
    return parts.finish(hidden if translator is None else translated(translator, hidden))


def tuned_lens(translators: Mapping[int, Translator], facts: Mapping[str, str]) -> TunedLens:
    """A lens of these translators, with their digest."""
    return TunedLens(translators, facts, _digest(translators))


def _digest(translators: Mapping[int, Translator]) -> str:
    sha = hashlib.sha256()
    for layer, translator in sorted(translators.items()):
        for part in translator:
            sha.update(f"{layer}{tuple(part.shape)}".encode())
            sha.update(part.detach().float().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def to_bytes(lens: TunedLens) -> bytes:
    """The file of a lens."""
    tensors = {
        f"layer.{layer}.{name}": part.detach().float().cpu().contiguous()
        for layer, translator in lens.translators.items()
        for name, part in translator._asdict().items()
    }
    facts = {name: value for name, value in lens.facts.items() if name != _DIGESTS}
    facts |= {"expert": masked(facts["expert"])} if "expert" in facts else {}
    sums = {f"{layer}": _digest({layer: translator}) for layer, translator in lens.translators.items()}
    written: bytes = save(tensors, {**facts, "format": FORMAT, _DIGESTS: json.dumps(sums)})
    return written


def read_lens(path: Path, layers: Sequence[int] | None, width: int) -> TunedLens:
    """The translators of some layers; of all that are there where `layers` is None.

    Raises: ModelError: no such file, not a lens, of another width, or without one of the layers.
    """
    check_lens_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            facts, names = file.metadata() or {}, set(file.keys())
            if facts.get("format") != FORMAT:
                raise ModelError(f"{path} is no lens of cdeval ('{FORMAT}'): train one with `{TRAIN}`.")
            there = sorted({int(name.split(".")[1]) for name in names})
            missing = sorted(set(layers or ()) - set(there))
            if missing:
                raise ModelError(
                    f"{path} has no translator for layer {', '.join(map(str, missing))}; it has {_listed(there)}. "
                    f"Train one with `{TRAIN} layers=[{','.join(map(str, sorted({*there, *missing})))}]`."
                )
            translators = {
                layer: Translator(file.get_tensor(f"layer.{layer}.matrix"), file.get_tensor(f"layer.{layer}.bias"))
                for layer in layers or there
            }
            sums = dict(json.loads(facts.pop(_DIGESTS, "{}")))  # of older lenses, none
    except (SafetensorError, OSError, ValueError, IndexError, TypeError) as error:
        raise ModelError(f"{path} cannot be read as a lens: {error}. Train one with `{TRAIN}`.") from error
    for layer, translator in translators.items():
        shapes = [tuple(part.shape) for part in translator]
        if shapes != [(width, width), (width,)]:
            raise ModelError(
                f"{path}, layer {layer}: shapes {shapes} do not fit the expert, whose blocks are {width} wide. "
                f"Train a lens for it with `{TRAIN}`."
            )
    changed = [layer for layer, one in translators.items() if sums.get(f"{layer}") not in (None, _digest({layer: one}))]
    if changed:
        raise ModelError(
            f"{path} is damaged: the translators of layer {_listed(changed)} are not those that were trained. "
            f"Copy the file anew, or train a lens with `{TRAIN}`."
        )
    return tuned_lens(translators, facts)


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers)) or "none"
