"""A study's views on W&B, first as plain data: which panels, of which numbers, in which order; then as W&B's own specs.

The workspace and the W&B report show the same panels. Neither needs a network to be built, only to be created.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cdeval.assets.extras import library_of
from cdeval.errors import ConfigError
from cdeval.report.answer import findings
from cdeval.report.measures import COSTS, Measure, present, qualities
from cdeval.report.studyfiles import Study, read_study
from cdeval.report.sweep import AXES, sweeps_of
from cdeval.report.tracking.sending import reach_server, reason
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import to_page

_WIDE, _TALL = 12, 8  # of a panel; the grid has 24 columns


class Panel(NamedTuple):
    """One picture or table; `x` and `y` are what W&B calls them."""

    kind: Literal["scatter", "parallel", "bars", "table", "pictures"]
    title: str
    y: str = ""  # a summary's number; a table's name; of pictures the prefix of their names
    x: str = ""  # of scatter: `summary:<name>` or `config:<name>`
    keys: tuple[str, ...] = ()  # of pictures their names; of parallel coordinates what `x` is of scatter


class Section(NamedTuple):
    """Panels under one heading, of the points or of the study's own run."""

    name: str
    panels: tuple[Panel, ...]
    kind: str = "point"  # job type of the runs that it shows


class Views(NamedTuple):
    """The verdict and all sections."""

    study: str
    says: tuple[str, ...]  # the verdict
    sections: tuple[Section, ...]
    pinned: tuple[str, ...]  # columns of the table of runs


def write_views(folder: Path, entity: str | None, project: str) -> list[str]:
    """Build both without a network, check them, and write their JSON to `<folder>/dashboard`.

    Returns: what they show, in lines for people, and where it is written.

    Raises: StorageError: no such study. ConfigError: wandb-workspaces is not installed.
    """
    views = _views(folder)
    found = {
        "workspace": workspace_of(views, entity or "", project),
        "report": report_of(views, entity or "", project, offline=True),
    }
    lines = outline(views)
    for name, view in found.items():
        path = folder / "dashboard" / f"{name}.json"
        replace_file(path, to_page(spec_of(view)))
        lines.append(f"  {name}: {path}")
    return lines


def publish_views(folder: Path, entity: str | None, project: str) -> list[str]:
    """Create both on W&B, with the user's own key. Returns: their addresses.

    Raises: ConfigError: there is no key, or the server cannot be reached or refuses; says what to do.
    """
    views = _views(folder)
    _libraries()
    try:
        reach_server()
        owner = entity or _own_entity()
        made = [workspace_of(views, owner, project), report_of(views, owner, project, offline=False)]
        return [f"  created: {view.save().url}" for view in made]
    except Exception as error:  # whatever the libraries raise: it is about the server or the key
        raise ConfigError(
            f"W&B has not taken the dashboard ({reason(error)}). It needs a network and a key (wandb login, or "
            "WANDB_API_KEY); --dry needs neither."
        ) from error


def _own_entity() -> str:
    """The key's own. Raises: whatever wandb does without one."""
    import wandb  # noqa: PLC0415 - slow to import

    return str(wandb.Api().default_entity)


def _views(folder: Path) -> Views:
    study = read_study(folder)
    return views_of(study, [f"figures/{path.stem}" for path in sorted((folder / "figures").glob("*.png"))])


def views_of(study: Study, pictures: Sequence[str]) -> Views:
    """List what there is to show; `pictures` are the names of those in the study's W&B run."""
    shown, costs = present(qualities(study), study.decoded), present(COSTS, study.decoded)
    known = {axis.name for sweep in sweeps_of(study) for axis in (sweep.axis,)}
    words, numbers = [axis.word for axis in AXES], [measure.name for measure in (*shown, *costs)]
    lines = (*(f"config:{word}" for word in words), *(f"summary:{name}" for name in numbers))
    sections = [
        Section(
            "Quality against cost",
            tuple(
                Panel("scatter", f"{quality.heading} × {cost.heading}", quality.name, f"summary:{cost.name}")
                for quality in shown
                for cost in costs
            ),
        ),
        Section("Settings, quality and cost", (Panel("parallel", "a line an arm", keys=lines),) if known else ()),
        Section(
            "What the sweep changes",
            tuple(
                Panel("scatter", f"{quality.heading} × {axis.title}", quality.name, f"config:{axis.word}")
                for axis in AXES
                if axis.name in known
                for quality in shown
            ),
        ),
        Section("Quality", tuple(_bars(measure) for measure in shown)),
        Section("Costs", tuple(_bars(measure) for measure in costs)),
        Section("Texts", (Panel("table", "continuations", "continuations"),)),
        Section(
            "The study",
            (
                Panel("table", "results, with intervals", "results"),
                Panel("table", "differences, paired by prompt", "comparisons"),
                *([Panel("pictures", "figures", "figures", keys=tuple(pictures))] if pictures else []),
            ),
            kind="study",
        ),
    ]
    pinned = tuple(f"summary:{measure.name}" for measure in qualities(study))
    return Views(study.name, (*findings(study), *study.changed), tuple(one for one in sections if one.panels), pinned)


def outline(views: Views) -> list[str]:
    """Describe what would be created, in lines for people."""
    lines = [f"workspace and report of {views.study}", *(f"  {line}" for line in views.says)]
    for section in views.sections:
        lines.append(f"  {section.name} ({section.kind} runs)")
        lines += [f"    {panel.kind}: {panel.title}" for panel in section.panels]
    return lines


def workspace_of(views: Views, entity: str, project: str) -> Any:
    """A `wandb_workspaces` workspace: the points of the study in sections."""
    ws, wr = _libraries()
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"cdeval {views.study}",
        sections=[
            ws.Section(name=section.name, is_open=place < 3, panels=_panels(wr, section))
            for place, section in enumerate(views.sections)
        ],
        runset_settings=ws.RunsetSettings(
            filters=f"Metric('Group') == '{views.study}'",
            pinned_columns=["run:displayName", *views.pinned],
        ),
    )


def report_of(views: Views, entity: str, project: str, *, offline: bool) -> Any:
    """A W&B report: the verdict, and the same panels with their headings.

    Args:
        views: what it shows.
        entity: who it belongs to; may be empty where `offline`.
        project: where its runs are.
        offline: leaves out of its run sets the project, whose internal number W&B would be asked for.
    """
    _, wr = _libraries()
    place = {} if offline else {"entity": entity, "project": project}
    blocks: list[Any] = [wr.P(text=line) for line in views.says]
    for section in views.sections:
        shown = f"Metric('Group') == '{views.study}' and Metric('JobType') == '{section.kind}'"
        runs = wr.Runset(**place, name=f"{section.kind}s of {views.study}", filters=shown)
        blocks += [wr.H2(text=section.name), wr.PanelGrid(runsets=[runs], panels=_panels(wr, section))]
    return wr.Report(
        entity=entity,
        project=project,
        title=f"cdeval {views.study}"[:128],
        blocks=blocks,
        width="fluid",
        description="Contrastive decoding, arm by arm; made by python -m cdeval.dashboard.",
    )


def spec_of(view: Any) -> dict[str, Any]:
    """Write a view as the JSON that W&B is sent, which must come back as it went.

    Raises: ValueError: it does not, so that W&B would show something else.
    """
    model = view._to_model()  # the library has no public way to see it
    sent: dict[str, Any] = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    again = type(view)._from_model(type(model).model_validate(sent))
    if _shown(again) != _shown(view):
        raise ValueError("the specification does not survive its own format")
    return sent


def _shown(view: Any) -> list[str]:
    """Titles of sections or kinds of blocks, in order."""
    parts = getattr(view, "sections", None) or view.blocks
    return [getattr(part, "name", type(part).__name__) for part in parts]


def _bars(measure: Measure) -> Panel:
    return Panel("bars", measure.heading, measure.name)


def _panels(wr: Any, section: Section) -> list[Any]:
    wide = 24 if section.panels[0].kind in ("table", "pictures", "parallel") else _WIDE
    found = []
    for place, panel in enumerate(section.panels):
        column, row = (place * wide) % 24, (place * wide) // 24 * _TALL
        found.append(_PANELS[panel.kind](wr, panel, wr.Layout(x=column, y=row, w=wide, h=_TALL)))
    return found


def _scatter(wr: Any, panel: Panel, layout: Any) -> Any:
    return wr.ScatterPlot(title=panel.title, x=_number(wr, panel.x), y=wr.SummaryMetric(panel.y), layout=layout)


def _parallel(wr: Any, panel: Panel, layout: Any) -> Any:
    columns = [wr.ParallelCoordinatesPlotColumn(metric=_number(wr, key)) for key in panel.keys]
    return wr.ParallelCoordinatesPlot(title=panel.title, columns=columns, layout=layout)


def _number(wr: Any, name: str) -> Any:
    where, _, key = name.partition(":")
    return wr.SummaryMetric(key) if where == "summary" else wr.Config(key)


def _bar_plot(wr: Any, panel: Panel, layout: Any) -> Any:
    return wr.BarPlot(title=panel.title, metrics=[panel.y], layout=layout)


def _summary_table(wr: Any, panel: Panel, layout: Any) -> Any:
    return wr.WeavePanelSummaryTable(table_name=panel.y, layout=layout)


def _media(wr: Any, panel: Panel, layout: Any) -> Any:
    return wr.MediaBrowser(title=panel.title, media_keys=list(panel.keys), num_columns=3, layout=layout)


_PANELS: Mapping[str, Callable[[Any, Panel, Any], Any]] = {
    "scatter": _scatter,
    "parallel": _parallel,
    "bars": _bar_plot,
    "table": _summary_table,
    "pictures": _media,
}


def _libraries() -> tuple[Any, Any]:
    """`wandb_workspaces`, workspaces and reports. Raises: ConfigError: it is not installed."""
    names = ("wandb_workspaces.workspaces", "wandb_workspaces.reports.v2")
    ws, wr = (library_of("dashboard", name, "cdeval.dashboard") for name in names)
    return ws, wr
