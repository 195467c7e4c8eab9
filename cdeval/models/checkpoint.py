"""A model's folder before and after it is opened: which files its weights come from, and whether they are complete.

Weights are read from safetensors where there are any, else from the pickled files of older checkpoints, as data.

Hugging Face fills weights that a checkpoint lacks with random numbers, leaves out weights that the model has no place
for, and says so in a warning alone. It opens every file that the index of a sharded checkpoint names, wherever that
lies and whatever it is. So the files are checked before they are opened, and the report of the loading afterwards.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from transformers import PretrainedConfig
from transformers.utils import cached_file

from cdeval.errors import ModelError
from cdeval.models.folder import ADAPTER
from cdeval.models.pickled import check_pickle

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED, _PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_SHOWN = 3  # names of a kind in a message

# Masks and positions that older releases stored beside the weights; today's models compute them.
_BUFFERS = re.compile(
    r"(^|\.)((attn|attention|self_attn|self|crossattention)\.(masked_)?bias|rotary_emb\.inv_freq|position_ids|version)$"
)


def local_folder(path: str, revision: str | None = None, *more: str) -> Path:
    """The folder with a model's files: itself, or the snapshot of a hub id, once what is checked there is fetched.

    Args: path: folder or hub id. revision: of a hub id. more: files that are needed besides.
    Raises: OSError: the configuration, or one of these files, cannot be had.
    """
    if Path(path).is_dir():
        return Path(path)
    for name in (_INDEX, ADAPTER):
        cached_file(path, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return [Path(str(cached_file(path, name, revision=revision))) for name in (*more, "config.json")][-1].parent


def check_files(folder: Path, name: str, config: PretrainedConfig | None = None) -> None:
    """Refuse what would open other files than the weights of this folder. Nothing but JSON is opened here.

    Args: folder: of the model. name: for messages. config: the model's, where it is known.
    Raises: ModelError: an adapter, an index that is broken or names other files, or a configuration that does.
    """
    if (folder / ADAPTER).exists():
        raise ModelError(
            f"{name} holds an adapter ({ADAPTER}), whose base model is another one: merge them first "
            "(peft: merge_and_unload, then save_pretrained) and give the folder of the merged model."
        )
    own = getattr(config, "transformers_weights", None)
    if own is not None:
        raise ModelError(
            f"{name} names its weights in config.json (transformers_weights: {own!r}): cdeval reads {_WHOLE}, "
            f"{_INDEX}, {_PICKLED} or {_PICKLED_INDEX}. Rename the file, and delete that entry."
        )
    # Where there are several, the first one is read, here and by transformers.
    read = next((one for one in (_WHOLE, _INDEX, _PICKLED, _PICKLED_INDEX) if (folder / one).exists()), _WHOLE)
    if read in (_INDEX, _PICKLED_INDEX):
        _check_index(folder, folder / read, name)


class WeightFiles(NamedTuple):
    """The files that a model's weights are read from."""

    files: tuple[Path, ...]
    safetensors: bool  # as transformers is told by use_safetensors


def weight_files(folder: Path, name: str) -> WeightFiles:
    """Find the files of the weights; pickled ones are opened, as `check_pickle` does.

    Args: folder: checked by `check_files`. name: for messages.
    Raises: ModelError: a pickled file holds more than weights, or is damaged.
    """
    if (folder / _WHOLE).is_file() or (folder / _INDEX).is_file():
        return WeightFiles(tuple(sorted(folder.glob("*.safetensors"))), safetensors=True)
    pickled = [folder / _PICKLED]
    if not pickled[0].is_file():
        pickled = [folder / shard for shard in _shards(folder / _PICKLED_INDEX)]
    for file in pickled:
        check_pickle(file, name)
    # Where there is nothing at all, transformers says what it looked for.
    return WeightFiles(tuple(pickled), safetensors=not pickled)


def fetch_weights(path: str, revision: str | None) -> None:
    """Fetch the weights of a hub id, so that `weight_files` finds them; nothing is done for a folder.

    Raises: OSError: they cannot be had.
    """
    if Path(path).is_dir():
        return
    for name in (_INDEX, _WHOLE, _PICKLED_INDEX, _PICKLED):
        found = cached_file(path, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        if found is not None:
            for shard in _shards(Path(found)) if name == _PICKLED_INDEX else ():
                cached_file(path, shard, revision=revision)
            return


def _shards(index: Path) -> list[str]:
    """The files that an index names; none where there is no index."""
    return sorted(set(json.loads(index.read_bytes())["weight_map"].values())) if index.is_file() else []


def check_modules(folder: Path, name: str) -> list[str]:
    """The folders of a sentence-transformers model's modules, below its own, each checked as `check_files` does.

    Raises: ModelError: the list of modules is broken, one would be read from elsewhere, or its pickled weights are more
        than that.
    """
    try:
        paths = [str(module["path"]) for module in json.loads((folder / "modules.json").read_bytes())]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{name}: modules.json cannot be read as sentence-transformers writes it (a list of modules with their "
            f"paths): {error!r}. Save the model again, or download it again."
        ) from error
    for path in paths:
        inside = PurePosixPath(path)
        if (
            inside.is_absolute()
            or ".." in inside.parts
            or not (folder / path).resolve().is_relative_to(folder.resolve())
        ):
            raise ModelError(
                f"{name}: modules.json names {path!r}, which is not inside the model's folder: nothing else is read."
            )
        check_files(folder / path, name)
        weight_files(folder / path, name)
    if any(_tokenizer_elsewhere(folder / path / "sentence_bert_config.json") for path in paths):
        raise ModelError(
            f"{name}: sentence_bert_config.json names a tokenizer elsewhere (tokenizer_name_or_path), and nothing "
            "outside the model's folder is read: copy the tokenizer's files into it, and delete that entry."
        )
    return paths


def _tokenizer_elsewhere(settings: Path) -> bool:
    try:
        return json.loads(settings.read_bytes()).get("tokenizer_name_or_path") is not None
    except (OSError, ValueError, AttributeError, RecursionError):  # none, or broken, which the loading says
        return False


def _check_index(folder: Path, index: Path, name: str) -> None:
    try:
        record = json.loads(index.read_bytes())
        shards = sorted({str(shard) for shard in record["weight_map"].values()})
        known = isinstance(record["metadata"], dict) and bool(shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        known, shards = False, []
    if not known:
        raise ModelError(
            f"{name}: {index.name} cannot be read as an index of weights (expected a JSON object of metadata and "
            "weight_map, weight -> file): save the model again by save_pretrained."
        )
    suffix = ".bin" if index.name == _PICKLED_INDEX else ".safetensors"
    foreign = [shard for shard in shards if not _is_own(folder, shard, suffix)]
    if foreign:
        raise ModelError(
            f"{name}: {index.name} names {_listed(map(repr, foreign), len(foreign))} for its weights. Only {suffix} "
            "files inside the model's own folder are opened: save the model again by save_pretrained, or copy the "
            "files there."
        )
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing and not _is_snapshot(folder):  # the hub's are fetched when they are needed
        raise ModelError(
            f"{name}: {index.name} names {_listed(missing, len(missing))}, which {'is' if len(missing) == 1 else 'are'}"
            " not there: the copy of this model is incomplete."
        )


def _is_own(folder: Path, shard: str, suffix: str) -> bool:
    """Whether a name of an index is that of a file of weights of this folder, or of the hub's store behind it."""
    path = PurePosixPath(shard)
    if path.is_absolute() or ".." in path.parts or "\\" in shard or "\0" in shard or path.suffix != suffix:
        return False
    home, target = folder.resolve(), (folder / shard).resolve()
    return target.is_relative_to(home) or (_is_snapshot(home) and target.is_relative_to(home.parents[1] / "blobs"))


def _is_snapshot(folder: Path) -> bool:
    """Whether a folder is the hub cache's: models--<owner>--<name>/snapshots/<commit>, with links to ../../blobs."""
    home = folder.resolve()
    return home.parent.name == "snapshots" and (home.parents[1] / "blobs").is_dir()


def check_complete(
    report: Mapping[str, Any], name: str, *, spare: Collection[str] = (), own: Set[str] | None = None
) -> None:
    """Refuse weights that do not fit the configuration.

    Args:
        report: of `from_pretrained(…, output_loading_info=True, ignore_mismatched_sizes=True)`.
        name: of the model, for the message.
        spare: beginnings of the names of weights that nobody reads, which may be missing.
        own: the model's own modules, for one that is read out of larger ones: whatever else the file holds, such as the
            head of another task, may be left over. None: nothing may be.

    Raises: ModelError: names what is missing, unexpected or of another shape.
    """
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(tuple(spare)))
    unexpected = sorted(
        key
        for key in report["unexpected_keys"]
        if not _BUFFERS.search(key) and (own is None or not own.isdisjoint(key.split(".")[:2]))
    )
    shapes = sorted(
        f"{key} {list(stored)} for {list(wanted)}" for key, stored, wanted in report.get("mismatched_keys") or ()
    )
    errors = list(report.get("error_msgs") or ())
    kinds: list[tuple[Sequence[str], str]] = [
        (missing, "missing, and would be random numbers"),
        (unexpected, "unexpected, and would be left out"),
        (shapes, "of another shape"),
        (errors, "not readable"),
    ]
    found = "; ".join(f"{len(keys)} {what}: {_listed(keys, len(keys))}" for keys, what in kinds if keys)
    if found:
        raise ModelError(
            f"{name}: the weights in its files are not those of its configuration ({found}). Give a complete "
            "checkpoint whose config.json belongs to it: the copy may be damaged, or made for another task or size."
        )


def _listed(names: Iterable[str], count: int) -> str:
    shown = [name for name, _ in zip(names, range(_SHOWN), strict=False)]
    return ", ".join(shown) + (f" and {count - _SHOWN} more" if count > _SHOWN else "")
