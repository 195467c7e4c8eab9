"""The chosen arms as files of `conf/`: an arm each, with the number of settings tried for it, and a sweep of all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cdeval.config.enums import PromptSource
from cdeval.config.grids import as_yaml
from cdeval.config.methods import extended
from cdeval.config.naming import shortened, slug
from cdeval.store.folder import replace_file
from cdeval.tune.arms import Tuned
from cdeval.tune.config import TuneRun
from cdeval.tune.criterion import Criterion

_HEADER = "# @package _global_\n# {}\n"
_NAME_BYTES = 100


def sweep_name(study: str) -> str:
    """The name that `+sweep=` takes."""
    return f"{slug(study) or 'study'}_chosen"


def write_chosen(config: TuneRun, tuned: Sequence[Tuned], criterion: Criterion, folder: Path) -> list[str]:
    """Write the files, for `python -m cdeval.run --config-dir <folder> +sweep=<study>_chosen`.

    Returns: the names of the arms. Raises: StorageError: the disk refuses.
    """
    chosen = [one for one in tuned if one.chosen is not None]
    names, of_file = _names(chosen), config.prompts.source is PromptSource.file
    where = "on the prompts of a file" if of_file else f"split {config.prompts.split.value}"
    for name, one in zip(names, chosen, strict=True):
        line = f"The best of {len(one.settings)} settings by {criterion}, {where}: cdeval.tune."
        replace_file(folder / "arm" / f"{name}.yaml", _page(line, _arm(one)))
    if names:
        sweep = {
            "study": f"{config.study}_test",
            **({} if of_file else {"prompts": {"split": "test"}}),
            "hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"+arm": ",".join(names)}}},
        }
        line = f"The arms that python -m cdeval.tune study={config.study} chose, on the test split."
        replace_file(folder / "sweep" / f"{sweep_name(config.study)}.yaml", _page(line, sweep))
    return names


def _names(chosen: Sequence[Tuned]) -> list[str]:
    """A name of its own for each arm, other than those of cdeval's own files."""
    found: list[str] = []
    for one in chosen:
        words = one.arm.fixed[0].removeprefix("+arm=") if one.arm.fixed[:1] else "arm"
        name = f"{shortened(slug(words), _NAME_BYTES)}_tuned"
        count = sum(other == name or other.startswith(f"{name}_") for other in found)
        found.append(f"{name}_{count + 1}" if count else name)
    return found


def _arm(one: Tuned) -> dict[str, Any]:
    fixed = [text for text in one.arm.fixed if not text.startswith("+arm=")]
    base = [text.removeprefix("+arm=") for text in one.arm.fixed if text.startswith("+arm=")]
    tried = one.chosen.overrides if one.chosen is not None else ()
    groups, values = as_yaml([*fixed, *tried], extended(TuneRun))
    overrides = [{f"override /{group}": name} for group, name in groups.items()]
    return {"defaults": [*base, "_self_", *overrides], **values, "tried": len(one.settings)}


def _page(line: str, content: dict[str, Any]) -> bytes:
    return (_HEADER.format(line) + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)).encode()
