"""Imports go one way: the order of CONTRIBUTING.md, read off the source without running it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "cdeval"

# A room (a module or package of cdeval) imports from itself and from the lines above its own: ten floors at most.
RANKS = [
    {"errors", "records"},
    {"store"},
    {"assets", "config"},
    {"models", "prompts"},
    {"cli", "decode", "metrics"},
    {"cost", "merge", "report"},
    {"compare", "dashboard", "lens", "price", "score"},
    {"study"},
    {"api", "bench", "calibrate", "export", "integrations", "judge", "run", "trace", "tune"},
    {"tasks"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module} | {f"{node.module}.{alias.name}" for alias in node.names})
    return found


def modules() -> dict[str, set[str]]:
    """Every module's dotted name behind `cdeval.`, and what it imports."""
    paths = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): imports(path) for path in paths}


def own(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("cdeval.")} & set(RANK)


def test_imports_go_one_way() -> None:
    seen = set()
    for module, names in modules().items():
        room = module.split(".")[0]
        seen.add(room)
        assert room in RANK, f"{room} has no place in the order: give it one here and in CONTRIBUTING.md"
        for other in own(names) - {room}:
            assert RANK[other] < RANK[room], f"{module} imports {other}, which is not below it"
    assert seen == set(RANK)


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Also inside a room. A package's own file counts where something is imported from it that is no module."""
    paths = {f"cdeval.{name}".removesuffix(".__init__"): names for name, names in modules().items()}
    graph = {
        name: {one for one in names & set(paths) if not any(more.startswith(f"{one}.") for more in names & set(paths))}
        for name, names in paths.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a cycle: {' imports '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_what_stays_apart() -> None:
    for module, names in modules().items():
        room = module.split(".")[0]
        libraries = {name.split(".")[0] for name in names}
        if room == "report" and not module.endswith("__main__"):
            assert not libraries & {"torch", "transformers"}, f"{module} imports torch: a report needs no model"
        if module not in HYDRA and not module.endswith("__main__"):
            assert "hydra" not in libraries, f"{module} imports hydra"
        if room == "metrics":
            assert "decode" not in own(names)


HYDRA = {"integrations.lm_eval.settings", "cli", "compare", "dashboard", "merge", "run"}
HYDRA |= {f"config.{name}" for name in ("given", "grids", "overrides", "readable")}


def test_no_two_public_classes_share_a_name() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


# What only an extra of pyproject.toml installs, as it is imported; `cdeval.assets.extras` says what to type without it.
OPTIONAL = {
    "ctranslate2",
    "datasets",
    "evaluate",
    "lm_eval",
    "mauve",
    "pyarrow",
    "ray",
    "sacrebleu",
    "wandb_workspaces",
}


def test_what_an_extra_brings_is_imported_where_it_is_asked_for() -> None:
    """A module that imports one at its top would break the main job on a machine without extras.

    One module inherits a class of lm_eval's: it is imported by name, once lm_eval is known to be there.
    """
    heir = PACKAGE / "integrations" / "lm_eval" / "model.py"
    for path in (path for path in PACKAGE.rglob("*.py") if path != heir):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not {name.split(".")[0] for name in names} & OPTIONAL, path
