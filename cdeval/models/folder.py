"""A model's folder before torch is loaded: where it is, and whether exits lie inside the model that it describes.

What needs the network is left to `cdeval.models.loading`, and so is a model whose depth its folder does not tell.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cdeval.assets.embedded import PREFIX, resolve
from cdeval.assets.pinned import ASSETS
from cdeval.config.enums import Weights
from cdeval.config.exits import check_depth
from cdeval.config.fields import value_of
from cdeval.errors import ModelError
from cdeval.store.hashing import cache_folder, sha256_of
from cdeval.store.private import expanded

ADAPTER = "adapter_config.json"
GGUF = ".gguf"
_CONFIG = "config.json"
_DEPTH = ("num_hidden_layers", "n_layer")  # as configurations of the architectures that are known here call L
TRAIN = "python -m cdeval.lens train=true"
AT_A_LAYER = ("early_exit", "truncated")  # the amateurs that read amateur.layer
_JUDGES = ("metrics.scorer", "metrics.mauve_features")  # models that read texts; `expert` is the study's own
_LENSES = ("amateur.lens_file", "lens_file")  # the last one of cdeval.lens
_LAYERS = ("amateur.layer", "search.adaptive_exit.layers", "layers")  # the last one of cdeval.lens


def find_folder(name: str, setting: str = "expert.name") -> Path | None:
    """The folder of a model that lies on this machine, of a GGUF file that in the cache; None: a name of the hub.

    Raises: ModelError: the name is a path at which there is no folder, or none with a model. AssetError: nothing of
        this name is embedded.
    """
    if name.startswith(PREFIX):
        asset = ASSETS.get(name.removeprefix(PREFIX))
        return Path(resolve(name)) if asset is None else cache_folder() / asset.folder
    path = Path(expanded(name))
    if path.suffix == GGUF and path.is_file():
        return gguf_folder(path)
    if path.is_dir():
        if not (path / _CONFIG).is_file() and not (path / ADAPTER).exists():
            raise ModelError(
                f"{name} is a folder without a model: it has no config.json. "
                "Give a folder written by save_pretrained (config.json, tokenizer.json, model.safetensors)."
            )
        return path
    if path.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1 or path.suffix == GGUF:
        raise ModelError(
            f"{setting}={name} is not a folder: give a hub id such as gpt2, an existing model folder, or a GGUF file."
        )
    return None


def gguf_folder(file: Path) -> Path:
    """The folder in the cache that a GGUF file is turned into (`cdeval.models.gguf`); it may not be there yet."""
    return cache_folder() / "gguf" / sha256_of(file)


def check_models(config: Any, read: Collection[str]) -> None:
    """Check that models and lenses are where their names say, and that exits lie inside the expert.

    Args: config: of any command. read: names of the settings that it reads.
    Raises: ModelError, AssetError: as `find_folder` and `check_lens_file`, or an exit lies outside.
    """
    if "expert.name" not in read or config.expert.weights is not Weights.stored:
        return
    _check_exits(config, read)
    named = [setting for setting in _JUDGES if setting in read]
    if value_of(config, "amateur.kind") == "model":
        named.append("amateur.name")
    for setting in named:
        name = value_of(config, setting)
        if name not in (None, "expert"):
            find_folder(name, setting)
    for setting in _LENSES:
        path = value_of(config, setting)
        trains = getattr(config, "train", False)  # by cdeval.lens, which refuses to read a file then
        if setting in read and path is not None and not trains:
            check_lens_file(Path(path).expanduser())


def check_lens_file(path: Path) -> None:
    """Check that a lens is there. Raises: ModelError: it is not."""
    if not path.is_file():
        raise ModelError(f"lens_file={path} is not a file: train a lens with `{TRAIN}`, which says where it is.")


def _check_exits(config: Any, read: Collection[str]) -> None:
    folder = find_folder(config.expert.name)
    depth = None if folder is None else _depth(folder / _CONFIG)
    if depth is None:
        return
    for setting in _LAYERS:
        if setting not in read or (setting == "amateur.layer" and config.amateur.kind not in AT_A_LAYER):
            continue
        given = value_of(config, setting)
        for layer in given if isinstance(given, list) else [given]:
            # A fraction lies inside any model; what is no number, or none of any model's layers, is refused elsewhere.
            if type(layer) is int and layer > 0:
                check_depth(depth, layer, config.expert.name, setting)


def _depth(file: Path) -> int | None:
    """Read L from a configuration. Returns: None where it is not there, or says it by another name."""
    try:
        found = json.loads(file.read_bytes())
        return next((found[name] for name in _DEPTH if type(found.get(name)) is int), None)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
