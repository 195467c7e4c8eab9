"""The score command on one page: files of texts in, a table's rows and metrics.json per arm out.

    files -> arms and human texts -> tokens of the scoring model -> scores -> results on disk -> their report

Files are read, and the metrics' names checked, before a model is opened; a model is opened only if a metric needs it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cdeval.config.enums import Ban
from cdeval.config.metrics import IN_TOKENS, LANGUAGE_MODELS, needs_of
from cdeval.config.naming import shortened, slug
from cdeval.config.plugins import loaded_plugins
from cdeval.errors import ConfigError, did_you_mean
from cdeval.metrics.judges.likelihood import with_known_logprobs
from cdeval.metrics.judges.opening import open_judges
from cdeval.metrics.registry import MetricError, chosen_metrics
from cdeval.metrics.scorefile import SCORES, to_bytes
from cdeval.metrics.suite import Scored, score_study
from cdeval.models.loading import OpenedModel, ReadingModel, open_model
from cdeval.models.vocabulary import special_names
from cdeval.prompts.tokens import with_tokens
from cdeval.records import Comparison, Generation
from cdeval.report.differences import differences_markdown
from cdeval.report.publish import write_report
from cdeval.report.studyfiles import Shown, write_shown
from cdeval.report.summary import notes_of, summary_of
from cdeval.report.table import Column, Row, markdown_table, score_groups
from cdeval.score.arms import HUMAN, Collection, collect, digest
from cdeval.score.beside import ban_beside, fingerprint_beside, is_by_sample
from cdeval.score.config import ScoreConfig
from cdeval.score.marks import without_marks
from cdeval.score.read import ReadFile
from cdeval.store.files import require_writable
from cdeval.store.folder import GENERATIONS, replace_file
from cdeval.store.progress import Steps
from cdeval.store.provenance import provenance
from cdeval.store.strict_json import encode, to_line, to_page

Texts = dict[str, list[Generation]]  # by arm, the human texts last


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """The result of the command, as it is shown."""

    rows: list[Row]
    groups: list[list[Column]]  # the tables' columns, a table a group
    comparisons: list[Comparison]  # of every other arm with one of them
    notes: list[str]  # what a reader of the tables must know
    warnings: list[str]  # those of the notes that say how the texts were read
    folder: Path
    failures: list[MetricError]  # of plug-ins; everything else is scored and written


def score_texts(config: ScoreConfig, plain_config: Mapping[str, object], say: Callable[[str], None]) -> ScoreResult:
    """Score every arm and the human texts, write the results.

    Args:
        config: checked settings.
        plain_config: the same as plain values, for the record.
        say: takes one line of progress at a time.

    Raises: CdevalError: a user's mistake or a missing prerequisite.
    """
    needs = needs_of(chosen_metrics(config.metrics))
    collection = collect(config.generations, config.labels, config.fields)
    folder = Path(config.out) if config.out is not None else Path(config.runs) / config.study
    require_writable(folder / "table.md")
    say(f"{sum(len(arm.generations) for arm in collection.arms)} texts of {len(collection.arms)} arms")
    with Steps(say, "opening the model that reads the texts"):
        opened = open_model(config.expert, decodes=False) if IN_TOKENS & needs else None
        scorer = opened.load_reader(packed=True) if opened and LANGUAGE_MODELS & needs else None
    texts, notes = _tokenised(collection, opened, scorer)
    say("scoring")
    ours = scorer is not None and all(
        fingerprint_beside(arm.file.path) == scorer.fingerprint for arm in collection.arms
    )
    scored = _scored(texts, scorer, config, folder, say, wrote=ours or None)
    scores = scored.scores
    absent = [] if collection.human else ["there are no references: no human row, and no MAUVE"]
    warnings = [*collection.notes, *notes, *absent]
    notes = [*collection.notes, *notes, *notes_of(scores), *absent]
    rows = [
        Row(label, HUMAN if label == HUMAN else "arm", summary_of(len(texts[label]), found, {}))
        for label, found in scores.items()
    ]
    groups = score_groups(rows, config.metrics.only)
    _write(folder, rows, scored, groups, notes)
    _keep(folder, texts, scored)
    replace_file(folder / "scoring.json", to_page(_record(config, plain_config, collection, opened, scorer)))
    write_report(folder, say)
    return ScoreResult(rows, groups, scored.comparisons, notes, warnings, folder, scored.failures)


def _tokenised(
    collection: Collection, opened: OpenedModel | None, scorer: ReadingModel | None
) -> tuple[Texts, list[str]]:
    """Every row's texts with the scoring model's tokens, where a metric needs them; its log-probabilities, or none."""
    files: list[tuple[str, Sequence[Generation], ReadFile | None]] = [
        (arm.label, arm.generations, arm.file) for arm in collection.arms
    ]
    if collection.human:
        files.append((HUMAN, collection.human, collection.human_file))
    texts: Texts = {}
    lacking: list[tuple[str, int]] = []  # labels and places
    marked: list[str] = []
    for label, given, file in files:
        generations = given
        if opened is not None and not (file is not None and file.tokenised):
            unmarked = without_marks(given, label, special_names(opened.tokenizer))
            generations = unmarked.texts
            # The file's own notes have told of those that are no tokens of the scoring model.
            marked += [f"{label}: {note}" for note in unmarked._replace(kept=0).notes()]
        fit = _tokens_fit(file, scorer)
        texts[label] = with_known_logprobs(generations, _ban(file, scorer))
        # A reference from another file has no tokens.
        lacking += [(label, n) for n, text in enumerate(generations) if not (fit and text.prompt_token_ids)]
    if opened is not None:  # all together, because arms have their prompts in common
        read = with_tokens([texts[label][place] for label, place in lacking], opened.tokenizer)
        for (label, place), text in zip(lacking, read, strict=True):
            texts[label][place] = text
    again = list(dict.fromkeys(label for label, _ in lacking)) if opened is not None else []
    name = opened.name if opened else ""
    old = [label for label, _, file in files if label in again and file is not None and is_by_sample(file.path)]
    notes = {
        f"without tokens of {name}, hence re-tokenised by it": [label for label in again if label not in old],
        f"of an older cdeval, which knew models by a sample of their weights: whether {name} wrote them cannot be "
        "told, hence re-tokenised by it": old,
    }
    return texts, [*marked, *(f"{', '.join(labels)}: {note}" for note, labels in notes.items() if labels)]


def _tokens_fit(file: ReadFile | None, scorer: ReadingModel | None) -> bool:
    """Whether a file's token ids are the scoring model's own."""
    if file is None or scorer is None:
        return False
    return file.tokenised and fingerprint_beside(file.path) == scorer.fingerprint


def _ban(file: ReadFile | None, scorer: ReadingModel | None) -> Ban | None:
    """Find what could not be drawn when the scoring model wrote a file's texts; None where nothing says that it did."""
    if file is None or scorer is None or not file.tokenised:
        return None
    return ban_beside(file.path, scorer)


def _scored(
    texts: Texts,
    scorer: ReadingModel | None,
    config: ScoreConfig,
    folder: Path,
    say: Callable[[str], None],
    *,
    wrote: bool | None,
) -> Scored:
    arms = [label for label in texts if label != HUMAN]
    against = config.against or arms[0]
    if against not in arms:
        raise ConfigError(f"against={against}: there is no such arm. {did_you_mean(against, arms)}")
    judges = open_judges(needs_of(chosen_metrics(config.metrics)), config.metrics, scorer, folder, wrote=wrote, say=say)
    human, seed = texts.get(HUMAN), config.seed
    pairs = {label: against for label in arms if label != against}
    return score_study(texts, human, judges, config.metrics, seed, config.protocol, against=pairs)


def _write(
    folder: Path, rows: Sequence[Row], scored: Scored, groups: Sequence[Sequence[Column]], notes: Sequence[str]
) -> None:
    names = folder_names(list(scored.scores))
    rows = [replace(row, folder=names[row.label]) for row in rows]
    for row in rows:
        page = scored.kept[row.label].page(scored.scores[row.label])
        replace_file(folder / names[row.label] / "metrics.json", to_page(page))
        replace_file(folder / names[row.label] / "divergence.json", to_page(scored.curves.get(row.label, [])))
        replace_file(folder / names[row.label] / "summary.json", to_page(dict(row.summary)))
    tables = [
        markdown_table(rows, notes if group is groups[-1] else (), group) for group in groups
    ]  # the notes are below the last one
    differences = differences_markdown(scored.comparisons)
    replace_file(folder / "table.md", encode("\n".join([*tables, *([differences] if differences else [])])))
    write_shown(folder, Shown(rows, notes, scored.comparisons))


def _keep(folder: Path, texts: Texts, scored: Scored) -> None:
    """Store each arm's texts and their own scores, of which the report is made; what a run wrote stays as it is."""
    for label, name in folder_names(list(scored.scores)).items():
        if not (folder / name / "config.yaml").exists():
            replace_file(folder / name / GENERATIONS, b"".join(map(to_line, texts[label])))
            replace_file(folder / name / SCORES, to_bytes(scored.kept[label]))


def folder_names(labels: Sequence[str]) -> dict[str, str]:
    """A folder a label: readable, no way out of its parent, and never shared.

    >>> folder_names(["a/b c", "a b/c", ".."])
    {'a/b c': 'a-b-c', 'a b/c': 'a-b-c-2', '..': 'arm'}
    """
    found: dict[str, str] = {}
    for label in labels:
        plain = shortened(slug(label).strip(".-")[:80], 240) or "arm"
        taken = set(found.values())
        numbered = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(labels) + 1))
        found[label] = next(name for name in numbered if name not in taken)
    return found


def _record(
    config: ScoreConfig,
    plain_config: Mapping[str, object],
    collection: Collection,
    opened: OpenedModel | None,
    scorer: ReadingModel | None,
) -> dict[str, object]:
    """Record what was scored, and by what: the provenance of the scores."""
    files = {arm.label: arm.file for arm in collection.arms}
    if collection.human_file is not None:
        files[HUMAN] = collection.human_file
    facts = {
        "scorer": opened.name if opened else None,
        "scorer_revision": opened.revision if opened else None,
        "scorer_fingerprint": scorer.fingerprint if scorer else None,
        "scorer_dtype": scorer.dtype_name if scorer else None,
        "embedder": config.metrics.embedder,
        "mauve_features": config.metrics.mauve_features,
    }
    texts = [generation for arm in collection.arms for generation in arm.generations]
    return {
        **provenance(facts, digest(texts), loaded_plugins()),
        "scored": {
            label: {"file": file.path.name, "sha256": file.sha256, "format": file.format, "notes": file.notes}
            for label, file in files.items()
        },
        "settings": plain_config,
    }
