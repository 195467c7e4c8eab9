"""The export on one page: open the models, fit the lens, write the folder.

    <out>/custom_generate/generate.py        the pinned setting, and a call of `cdeval.integrations.pinned`
    <out>/custom_generate/requirements.txt   this release of cdeval
    <out>/lens.safetensors                   of an exit that is read through one
    <out>/README.md, <out>/LICENSE

It is the layout that transformers reads.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdeval import __version__
from cdeval.config.amateur import AMATEURS, amateur_of
from cdeval.config.exits import Lens
from cdeval.config.fields import plain_values
from cdeval.config.labels import label_of
from cdeval.config.paths import CONF
from cdeval.config.schema import RunConfig
from cdeval.config.setting import setting_of
from cdeval.errors import ConfigError, StorageError
from cdeval.export.config import ExportRun, as_run
from cdeval.export.pages import code_page, readme_page
from cdeval.models.lens import TunedLens, to_bytes
from cdeval.store.files import replace_file
from cdeval.store.private import masked_all
from cdeval.study.models import OpenedModels, open_models

_LENS = "lens.safetensors"
_CODE = "custom_generate/generate.py"


def write_export(config: ExportRun, say: Callable[[str], None]) -> list[str]:
    """Write the folder of a setting.

    Args:
        config: checked.
        say: takes one line of progress at a time.

    Returns: lines for the screen.

    Raises: CdevalError: the setting cannot be exported, a model or text is not here, or the disk refuses.
    """
    folder = Path(str(config.out)).expanduser()
    _check_free(folder)
    run = as_run(config)
    kind = AMATEURS[run.amateur.kind]
    if kind.learns(run.amateur):
        raise ConfigError(
            f"amateur={kind.name} cannot be exported: it learns from the study's own texts, which are not copied."
        )
    opened = open_models(run)
    lens = _lens(opened, say)
    data = None if lens is None else to_bytes(lens)
    setting = _setting(opened.config, data)
    label = label_of(setting_of(opened.config))
    pages = {
        _CODE: code_page(label, setting),
        "custom_generate/requirements.txt": f"cdeval=={__version__}\n",
        "README.md": readme_page(label, folder, opened.config, has_lens=lens is not None),
        "LICENSE": _licence(),
    }
    for name, text in pages.items():
        replace_file(folder / name, text.encode())
    if data is not None:
        replace_file(folder / _LENS, data)
    return [f"exported: {label}", f"how to use it: {folder / 'README.md'}", f"results: {folder}"]


def _check_free(folder: Path) -> None:
    """Leave other people's files alone. Raises: StorageError: the folder holds something else than an export."""
    if folder.exists() and not (folder / _CODE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(f"out={folder} is there already, and is no export: name another folder, or move it away.")


def _lens(opened: OpenedModels, say: Callable[[str], None]) -> TunedLens | None:
    """The translators of the exit, fitted or read as a study does; None: it is read without."""
    if not opened.config.amateur.lens.translates or opened.config.amateur.kind != "early_exit":
        return None
    prompts = opened.prompts()
    opened.check(prompts)
    found = opened.load(prompts, say).amateur_models[amateur_of(opened.config.amateur)]
    return found if isinstance(found, TunedLens) else None


def _setting(config: RunConfig, lens: bytes | None) -> dict[str, Any]:
    """What is pinned, as plain values."""
    amateur = plain_values(config.amateur)
    amateur["name"] = masked_all(amateur["name"])
    if lens is not None:
        amateur |= {"lens": Lens.tuned.name, "lens_file": _LENS}
        amateur.pop("lens_texts", None)
    search = plain_values(config.search)
    search.pop("adaptive_exit")
    sha = None if lens is None else {"file": _LENS, "sha256": hashlib.sha256(lens).hexdigest()}
    return {
        "amateur": amateur,
        "contrast": plain_values(config.contrast),
        "search": search,
        "seed": config.seed,
        "lens": sha,
    }


def _licence() -> str:
    inside = Path(__file__).resolve().parents[1] / "LICENSE"
    return (inside if inside.is_file() else CONF.parent / "LICENSE").read_text("utf-8")
