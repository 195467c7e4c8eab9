"""The page of a bench, `bench.html`: on which machine, what was timed, and the goals where there are any."""

import base64
from collections.abc import Mapping, Sequence

from cdeval.bench.goals import Goal
from cdeval.bench.plan import GroupResult
from cdeval.bench.table import HEADERS, goal_rows, group_rows, growth_lines
from cdeval.report.rendering import render

_LIBRARIES = ("python", "torch", "transformers", "numpy")


def to_html(
    results: Mapping[str, GroupResult],
    goals: Sequence[Goal],
    notes: Sequence[str],
    record: Mapping[str, object],
    drawn: bytes,
) -> str:
    """Write the page.

    Args:
        results: groups by name.
        goals: none where none are stated.
        notes: what a reader must know; the first one is the page's headline.
        record: as `store.provenance` collects it.
        drawn: the picture of all groups, PNG.
    """
    return render(
        "bench/page.html.j2",
        eyebrow="cdeval bench",
        headline=notes[0],
        notes=notes[1:],
        machine=machine_rows(record),
        headers=[header.replace("\n", " ") for header in HEADERS],
        groups=[(result.title, group_rows(result), growth_lines(result)) for result in results.values()],
        goals=goal_rows(goals),
        drawing=f"data:image/png;base64,{base64.b64encode(drawn).decode()}",
    )


def machine_rows(record: Mapping[str, object]) -> list[tuple[str, str]]:
    """What ran, and on what: names and values, those that are not known left out."""
    cdeval, libraries, machine, gpu = (_part(record, name) for name in ("cdeval", "libraries", "machine", "gpu"))
    commit = str(cdeval.get("commit") or "")[:12]
    changed = " with changes" if cdeval.get("dirty") else ""
    rows = {
        "GPU": ", ".join(names) if isinstance(names := gpu.get("names"), list) else None,
        "driver": gpu.get("driver"),
        "CUDA": gpu.get("cuda"),
        "processor": f"{machine.get('cpu')}, {machine.get('cores_usable')} cores",
        "system": machine.get("platform"),
        **{name: libraries.get(name) for name in _LIBRARIES},
        "cdeval": f"{cdeval.get('version')} {commit}{changed}".strip(),
        "started": record.get("started_utc"),
    }
    return [(name, str(value)) for name, value in rows.items() if value]


def _part(record: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}
