"""The house in numbers: how far a stranger has to walk through cdeval's code, counted from the code itself.

    python scripts/house.py                 the working tree
    python scripts/house.py --at 6e56604    another commit beside it
    python scripts/house.py --no-run        without the one row that decodes a text

Everything is read off the source, but for the way from the command to the decode loop: for it, a study of one prompt is
run on a random model of two blocks, and the calls that led to the loop are noted.
"""

import argparse
import ast
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
ROWS = {
    "modules": ("top-level modules in the package", "≤ 8"),
    "rooms": ("rooms: modules and packages at the top", "≤ 26"),
    "floors": ("floors: the longest chain of rooms that import one another", "≤ 9"),
    "calls": ("calls from the command to the decode loop", "≤ 4"),
    "layer": ("files that read `amateur.layer`", "≤ 3"),
    "metric": ('files that name the metric "coherence" (all of them: tests/metrics/test_registry.py)', "1"),
    "new_metric": ("files that name the metric `self_bleu`: those a new one touches", "1"),
    "new_amateur": ("files that name the amateur kind `ngram`: those a new one touches", "1"),
    "lines": ("lines of package code", "≤ 20000"),
    "code": ("lines among them without docstrings, imports, comments and blank lines", "–"),
    "shared": ("names that two public classes share", "0"),
    "longest": ("lines of the longest module", "≤ 300"),
}
STUDY = [
    "expert.name=model",
    "prompts=file",
    "prompts.path=prompts.jsonl",
    "search.max_new_tokens=2",
    "amateur.layer=1",
]
STUDY += ["tracking=none", "cost.latency_repeats=0", "metrics.only=[diversity]", "metrics.bootstrap_draws=100"]


def sources(package: Path) -> dict[str, str]:
    """The text of every module by its path in the package."""
    return {str(path.relative_to(package)): path.read_text("utf-8") for path in sorted(package.rglob("*.py"))}


def rooms(package: Path) -> dict[str, set[str]]:
    """Each room (a module or package at the top) and the other rooms it imports."""
    names = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    names.discard("__init__")
    found: dict[str, set[str]] = {name: set() for name in names}
    for path, text in sources(package).items():
        room = Path(path).parts[0].removesuffix(".py")
        if room in found:
            found[room] |= {name.split(".")[1] for name in imported(text) if name.startswith("cdeval.")} & names - {
                room
            }
    return found


def imported(text: str) -> Iterator[str]:
    """Every dotted name that a module imports, inside functions as well."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def chains(graph: dict[str, set[str]]) -> dict[str, list[str]]:
    """The longest chain of imports that begins at each room; a way around a cycle ends where it closes."""
    found: dict[str, list[str]] = {}

    def visit(room: str, way: tuple[str, ...]) -> list[str]:
        if room in way:
            return []
        if room not in found:
            found[room] = [
                room,
                *max((visit(other, (*way, room)) for other in sorted(graph[room])), key=len, default=[]),
            ]
        return found[room]

    for room in sorted(graph):
        visit(room, ())
    return found


def reads_layer(text: str) -> bool:
    """Whether a module reads the attribute `layer` of something called amateur."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "layer"
        and getattr(node.value, "attr", getattr(node.value, "id", "")) == "amateur"
        for node in ast.walk(ast.parse(text))
    )


def names(word: str) -> Callable[[str], bool]:
    """Whether a module names something, as a string or as an identifier, not merely in a sentence."""

    def named(text: str) -> bool:
        return any(
            (isinstance(node, ast.Constant) and node.value == word)
            or word in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "arg", None))
            or (isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == word)
            or (isinstance(node, ast.ImportFrom) and (node.module or "").endswith(f".{word}"))
            for node in ast.walk(ast.parse(text))
        )

    return named


def public_classes(texts: dict[str, str]) -> list[str]:
    """The names that more than one public class has."""
    count = Counter(
        node.name
        for text in texts.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return sorted(name for name, times in count.items() if times > 1)


def code_lines(text: str) -> int:
    """Count the lines of a module that are no docstring, import, comment or blank line."""
    left = {number for number, line in enumerate(text.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
    gone: list[ast.stmt] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            gone.append(node)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            gone.append(node.body[0])
    for one in gone:
        left.difference_update(range(one.lineno, (one.end_lineno or one.lineno) + 1))
    return len(left)


def trace() -> None:
    """Run a study of one prompt on a random model, and write the calls that led to the decode loop to way.json."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415 - seconds, for one row
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast  # noqa: PLC0415

    letters = Tokenizer(models.WordLevel({chr(i + 32): i for i in range(95)}, unk_token=" "))  # noqa: S106
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    ends = {"eos_token": " ", "bos_token": " ", "unk_token": " "}
    PreTrainedTokenizerFast(tokenizer_object=letters, **ends).save_pretrained("model")
    sizes = {"vocab_size": 95, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 128}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).save_pretrained("model")
    Path("prompts.jsonl").write_text(json.dumps({"text": "some letters in a row, " * 9}), "utf-8")
    noted = Path("way.json").absolute()

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == "decode_batch" and code.co_filename.endswith("decode/engine.py"):
            sys.setprofile(None)
            noted.write_text(json.dumps(way_of(frame)), "utf-8")

    sys.argv = ["cdeval.run", *STUDY]
    sys.setprofile(watch)
    runpy.run_module("cdeval.run", run_name="__main__", alter_sys=True)


def way_of(frame: FrameType | None) -> list[str]:
    """The functions of cdeval on the stack, the first called first, as room.module.function."""
    way = []
    while frame is not None:
        code = frame.f_code
        if "/cdeval/" in code.co_filename and not code.co_name.startswith("<"):
            module = code.co_filename.rpartition("/cdeval/")[2].removesuffix(".py").replace("/", ".")
            way.append(f"{module}.{code.co_name}")
        frame = frame.f_back
    return way[::-1]


def way_to_decoding(checkout: Path) -> list[str]:
    """The functions of cdeval that lead from `cdeval.run.run` to the decode loop, without the first.

    Raises: RuntimeError: the study did not decode.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(  # noqa: S603 - this interpreter and this file
            [sys.executable, __file__, "--trace"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        noted = Path(folder, "way.json")
        way = json.loads(noted.read_text("utf-8")) if noted.exists() else []
    if not way:
        raise RuntimeError(f"the study of one prompt decoded nothing:\n{done.stdout}{done.stderr}")
    return list(way[way.index("run.run") + 1 :])


def measure(checkout: Path, *, run: bool = True) -> dict[str, str]:
    """One column of the table, by row."""
    package = checkout / "cdeval"
    texts = sources(package)
    graph = rooms(package)
    way = way_to_decoding(checkout) if run else None
    modules = [path for path in texts if "/" not in path and path != "__init__.py"]

    def count(test: Callable[[str], bool]) -> str:
        return str(sum(map(test, texts.values())))

    shared = public_classes(texts)
    longest = max(chains(graph).values(), key=len)
    return {
        "modules": str(len(modules)),
        "rooms": str(len(graph)),
        "floors": f"{len(longest)}: {' → '.join(longest)}",
        "calls": "–" if way is None else f"{len(way)}: {' → '.join(way)}",
        "layer": count(reads_layer),
        "metric": count(lambda text: re.search(r"""["']coherence["']""", text) is not None),
        "new_metric": count(names("self_bleu")),
        "new_amateur": count(names("ngram")),
        "lines": str(sum(len(text.splitlines()) for text in texts.values())),
        "code": str(sum(map(code_lines, texts.values()))),
        "shared": f"{len(shared)}: {', '.join(shared)}" if shared else "0",
        "longest": str(max(len(text.splitlines()) for text in texts.values())),
    }


def measure_commit(commit: str, *, run: bool) -> dict[str, str]:
    """The column of another commit, from a temporary copy of its files."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(  # noqa: S603
            ["git", "-C", str(ROOT), "archive", commit],  # noqa: S607
            stdout=subprocess.PIPE,
            check=True,
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)  # noqa: S603, S607
        return measure(Path(folder), run=run)


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", action="append", default=[], metavar="COMMIT", help="another commit; may be repeated")
    parser.add_argument("--no-run", action="store_true", help="leave out the row that needs a run")
    parser.add_argument("--trace", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trace:
        trace()
        return
    columns = {commit: measure_commit(commit, run=not given.no_run) for commit in given.at}
    columns["working tree"] = measure(ROOT, run=not given.no_run)
    lines = [["", *columns, "wanted"], ["---"] * (len(columns) + 2)]
    lines += [[text, *(column[row] for column in columns.values()), wanted] for row, (text, wanted) in ROWS.items()]
    sys.stdout.writelines(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
