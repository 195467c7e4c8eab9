"""`python -m cdeval.tasks tasks=[gsm8k]`: arms side by side on the tasks of lm-evaluation-harness."""

from cdeval.cli import Schema, compose_further, known_arms, plain_dict, run_schema
from cdeval.config.grids import fixed_arm
from cdeval.config.methods import extended
from cdeval.integrations.lm_eval.registering import register
from cdeval.store.screen import Screen
from cdeval.tasks.config import TasksRun, as_run, validate_tasks
from cdeval.tasks.tables import task_tables

_ALONE = ("amateur=none",)  # the expert alone, under the same search


def tasks(config: TasksRun) -> None:
    """Print the tables to the standard output, everything else to the error output."""
    register("cdeval.tasks")
    root = extended(TasksRun)
    lines = [fixed_arm(line, known_arms(), root) for line in config.arms] or [(), _ALONE]
    composed: list[TasksRun] = compose_further(lines, root)
    # torch, transformers and lm_eval take seconds; --help and mistakes must not.
    from cdeval.tasks.pipeline import run_tasks  # noqa: PLC0415

    progress, console = Screen(errors=True), Screen()
    found = run_tasks(config, [as_run(one) for one in composed], [plain_dict(one) for one in composed], progress.say)
    for table in task_tables(found):
        console.print(table)
    for line in (*found.notes, f"results: {found.folder}"):
        console.say(f"  {line}")


if __name__ == "__main__":
    run_schema(tasks, Schema(TasksRun, validate_tasks, composes=True), config_name="tasks")
