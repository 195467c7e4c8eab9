"""The console script: `cdeval <command> …` is `python -m cdeval.<command> …`."""

import runpy
import sys

from cdeval.errors import did_you_mean

COMMANDS = {
    "run": "continue prompts under settings and their controls, score and price the texts",
    "score": "score texts that exist already, of any program or of people",
    "report": "make the page and the tables of a study again",
    "compare": "tell whether two studies are the same, to the last digit",
    "merge": "put the points of several run folders into one study",
    "lens": "measure what each layer knows, fit lenses, draw one prompt's layers",
    "trace": "follow one generation token by token",
    "calibrate": "find how early the expert may stop, with a guarantee",
    "judge": "let a model judge pairs of texts, and compare judges and metrics with people",
    "tune": "find the best of equally many settings of each arm, on the tuning split",
    "export": "write a folder that generate of transformers decodes with",
    "tasks": "ask arms the tasks of lm-evaluation-harness, side by side",
    "price": "count what contrast costs at the shapes of known models, without weights",
    "bench": "time the engine against its peers",
    "dashboard": "lay a study out on W&B",
}


def main() -> None:
    """Run the command that is named first on the command line; exit with 2 where there is none of that name."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h"):
        width = max(map(len, COMMANDS))
        lines = [f"  {command:{width}}  {what}" for command, what in COMMANDS.items()]
        sys.stdout.write("\n".join(["cdeval <command> [settings]; each takes --help.", "", *lines, ""]))
        return
    if name not in COMMANDS:
        sys.stderr.write(f"error: cdeval has no command {name!r}. {did_you_mean(name, COMMANDS)}\n")
        sys.exit(2)
    sys.argv = [f"cdeval {name}", *sys.argv[2:]]
    runpy.run_module(f"cdeval.{name}", run_name="__main__", alter_sys=True)
