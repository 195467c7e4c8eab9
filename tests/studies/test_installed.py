"""The installed wheel in a folder of its own, with a metric, an amateur and a rule that are a user's files."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands import on

ROOT = Path(__file__).resolve().parents[2]
FILES = ["metric/word_length.py", "amateur/blurred.py", "plausibility/near_best.py"]
PLUGINS = f"plugins=[{','.join(Path(name).name for name in FILES)}]"
SWEEP = ["amateur=blurred", "amateur.share=0.1,0.3", "contrast.plausibility=near_best", "contrast.gap=4"]


def run(python: Path | str, arguments: Sequence[str], folder: Path, **more: str) -> str:
    """What Python prints, started in a folder by itself: no variable of this process leads it to the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WANDB_", "COV"))}
    command = [str(python), *arguments]
    done = subprocess.run(command, cwd=folder, env=kept | more, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with cdeval's wheel; what the wheel needs is this environment's."""
    pytest.importorskip("pip", reason="the wheel is built and installed by pip")
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # the build leaves nothing in the checkout
    names = ["cdeval", "conf", "hydra_plugins", "pyproject.toml", "README.md", "LICENSE"]
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    run(sys.executable, ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)], folder)
    (wheel,) = folder.glob("cdeval-*.whl")
    run(sys.executable, ["-m", "venv", "--without-pip", str(folder / "venv")], folder)
    found = folder / "venv" / "bin" / "python"
    site = Path(run(found, ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
    (site / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    run(sys.executable, ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], folder)
    return found


@pytest.mark.recipe
def test_three_files_of_a_users_are_swept_shown_and_tracked(
    python: Path, tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path
) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    for name in FILES:
        shutil.copy(ROOT / "examples" / name, desk)
    own = run(python, ["-c", "import cdeval; print(cdeval.__file__)"], desk).strip()
    assert Path(own).is_relative_to(python.parent.parent), "the wheel, and not the checkout"

    arguments = ["-m", "cdeval.run", "--multirun", *on(tiny_gpt2_folder, prompts_file)[:-2], PLUGINS, *SWEEP]
    arguments += ["metrics.only=[word_length,words]", "notes=all", "tracking=wandb"]
    table = run(python, [*arguments, "study=here"], desk, HOME=str(tmp_path), COLUMNS="140")
    study = desk / "runs" / "here"
    page, (rows, columns) = (study / "report.html").read_text(), read(study / "results.csv")
    for share in ("0.1", "0.3"):
        label = next(label for label in rows if f"share={share} " in label)
        assert f"blurred share={share} near_best gap=4" in label
        assert label in table
        assert label in page
        (point,) = study.glob(f"blurred-share-{share}*")
        (mirror,) = point.glob("wandb/offline-run-*/*.wandb")
        command = ["-m", "wandb", "leet", "inspect", "--summary", "--json", str(mirror)]
        tracked = json.loads(run(python, command, desk, HOME=str(tmp_path)))
        assert tracked["name"] == label
        assert tracked["summary"]["word_length"] == pytest.approx(float(rows[label]["word_length"]))
    assert "word length" in table
    assert "word length" in page
    assert {"word_length", "word_length_low", "word_length_high"} <= set(columns)

    pytest.importorskip("ray", reason="needs the extra [ray]")
    elsewhere = ["study=there", "execution=ray", "execution.workers=1", "tracking=none"]
    run(python, [*arguments, *elsewhere], desk, HOME=str(tmp_path))
    assert texts(desk / "runs" / "there") == texts(study)
    assert len(texts(study)) == 4, "two arms, their control and the human reference"


def read(path: Path) -> tuple[dict[str, dict[str, str]], Sequence[str]]:
    """The rows of a CSV file by their labels, and its columns."""
    with path.open() as file:
        found = csv.DictReader(file)
        return {row["label"]: row for row in found}, list(found.fieldnames or ())


def texts(study: Path) -> dict[str, list[str]]:
    """Every point's continuations."""
    paths = sorted(study.glob("*/generations.jsonl"))
    return {
        path.parent.name: [json.loads(line)["continuation"] for line in path.read_text().splitlines()] for path in paths
    }
