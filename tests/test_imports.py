"""Imports go one way: the order of CONTRIBUTING.md, read off the source without running it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "cdeval"

# A module may import from its own rank (packages: only from itself) and from lower ones.
RANKS = [
    {"private"},
    {"errors", "paths", "escaping", "directions"},
    {"schema"},
    {"letters", "unread"},
    {"choices"},
    {"exitconfig"},
    {"config"},
    {"validation"},
    {
        "records",
        "scoreconfig",
        "lensconfig",
        "calibrateconfig",
        "reportconfig",
        "priceconfig",
        "mergeconfig",
        "compareconfig",
        "traceconfig",
        "dashboardconfig",
    },
    {
        "strictjson",
        "naming",
        "labels",
        "locks",
        "stopping",
        "itemfile",
        "hashing",
        "wheels",
        "hub",
        "conversion",
        "workers",
        "heartbeats",
        "screen",
        "files",
    },
    {"assets"},
    {"models", "prompts", "points"},
    {"decode", "metrics", "store", "provenance", "tracking", "texts"},
    {"cost", "reporting", "raters", "lenses"},
    {"ledger", "sessions", "folders", "raycluster", "checking"},
    {"cast", "rayworkers", "arguments"},
    {"units", "opening"},
    {"remote", "timing", "tracing"},
    {"generating"},
    {"costing"},
    {"keeping", "merging", "comparing", "predicting", "finished"},
    {"results", "renewing"},
    {"study", "benchmark", "scoring", "calm", "pricing", "api"},
    {"weightless"},
    {"sweeps"},
    {"given"},
    {"overrides"},
    {"cli"},
    {"run", "bench", "score", "lens", "calibrate", "report", "price", "merge", "compare", "trace", "dashboard"},
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


def modules() -> list[tuple[str, set[str]]]:
    paths = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py"]
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), imports(path)) for path in paths]


def own(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("cdeval.")} & set(RANK)


def test_imports_go_one_way() -> None:
    seen = set()
    for part, names in modules():
        seen.add(part)
        assert part in RANK, f"{part} has no place in the order: give it one here and in CONTRIBUTING.md"
        for other in own(names) - {part}:
            allowed = RANK[other] < RANK[part]
            assert allowed, f"{part} imports {other}, which is not below it"
    assert seen == set(RANK)


def test_what_stays_apart() -> None:
    for part, names in modules():
        if part == "reporting":
            assert not {name for name in names if name.split(".")[0] in {"torch", "transformers"}}
        if part not in RANKS[-1] | {"cli", "given", "overrides"}:
            assert not {name for name in names if name.split(".")[0] == "hydra"}, f"{part} imports hydra"
        if part == "metrics":
            assert "decode" not in own(names)
