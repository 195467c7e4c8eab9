"""The rules of `conf/`: every range and combination that can be checked before a model is opened.

What depends on the model (the exit layer against its depth, the length against its context) is checked by
`cdeval.models.loading`, as soon as the model's configuration is known and before its weights are read.
"""

from pathlib import Path

from cdeval.config.amateur import AMATEURS, check_context
from cdeval.config.compiling import cannot_compile, obstacle
from cdeval.config.enums import Ban, Compile, Context, Normalizer, PromptSource, SearchKind, TemperatureForm, Weights
from cdeval.config.exits import Lens, validate_layers
from cdeval.config.fields import check_values
from cdeval.config.metrics import METRICS
from cdeval.config.plausibility import plausibility_of
from cdeval.config.schema import CALIBRATED, AmateurConfig, ExpertConfig, RunConfig, SearchConfig
from cdeval.config.token_weight import Gate, gate_of
from cdeval.errors import ConfigError
from cdeval.store.files import require_writable


def validate(config: RunConfig) -> RunConfig:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    for name in config.metrics.only:  # before the amateur is looked up, which imports torch
        METRICS[name]
    _validate_search(config.search, config.amateur)
    AMATEURS[config.amateur.kind].check(config.amateur, config.expert)
    check_context(config.amateur)
    _validate_rule(config)
    _validate_temperature(config)
    if config.prompts.source is PromptSource.file and config.prompts.path is None:
        raise ConfigError(
            "prompts=file needs prompts.path: a JSON or JSONL file with `prompt` or `text` in every item."
        )
    if config.expert.weights is Weights.random:
        _validate_random(config)
    _validate_execution(config)
    validate_study_name("study", config.study)
    return config


def _validate_execution(config: RunConfig) -> None:
    """GPUs are whole, or a part of one; a step that is to be compiled can be."""
    gpus = config.execution.gpus
    if isinstance(gpus, float) and gpus > 1 and not gpus.is_integer():
        raise ConfigError(f"execution.gpus={gpus}: expected whole GPUs, or a fraction below 1 to share one.")
    if config.execution.compile is Compile.always:
        gated = config.contrast.gate is Gate.callable
        why = obstacle(config.search.kind, config.amateur.kind, config.contrast.plausibility, gated=gated)
        if why:
            raise cannot_compile(why)


def _validate_search(search: SearchConfig, amateur: AmateurConfig) -> None:
    kind = search.kind
    if kind is SearchKind.greedy and search.beams != 1:
        raise ConfigError(f"search.beams={search.beams} with search=greedy: greedy search has 1 beam; use search=beam.")
    if kind is SearchKind.sample and search.beams != 1:
        raise ConfigError(
            f"search.beams={search.beams} with search=sample: a draw goes on with 1 text. "
            f"For several texts a prompt use search.samples={search.beams}; for beams, search=beam."
        )
    if kind is SearchKind.contrastive_search and amateur.kind != "none":
        raise ConfigError(
            f"search=contrastive_search with amateur={amateur.kind}: contrastive search (Su et al. 2022) compares "
            "the expert's candidates with the text so far and has no amateur; add amateur=none."
        )
    if kind is SearchKind.hf:
        _validate_generate(search, amateur)
    if search.adaptive_exit.lens not in (Lens.norm, Lens.linear):
        raise ConfigError(
            f"search.adaptive_exit.lens={search.adaptive_exit.lens.name}: the expert's own exits are read through its "
            "final norm: expected norm or linear."
        )
    if search.adaptive_exit.layers is not None:
        validate_layers("search.adaptive_exit.layers", search.adaptive_exit.layers)
    if kind is SearchKind.contrastive_search and search.adaptive_exit.threshold is not None:
        raise ConfigError(
            f"search.adaptive_exit.threshold={search.adaptive_exit.threshold} with search=contrastive_search: that "
            "compares last hidden states of tokens, and exits would make them those of different layers. Use "
            "search=greedy, beam or sample, or search.adaptive_exit.threshold=null."
        )


def _validate_generate(search: SearchConfig, amateur: AmateurConfig) -> None:
    """Refuse what has no meaning where transformers searches; its arguments are checked when the models are opened."""
    own = search.adaptive_exit.threshold
    wrong = [
        (amateur.kind != "none", f"amateur={amateur.kind}", "that has no amateur of cdeval's; add amateur=none"),
        (search.beams != 1, f"search.beams={search.beams}", "its beams are search.generate.num_beams; use 1"),
        (search.ban is Ban.free, "search.ban=free", "an end token ends a text there; use special, eos or none"),
        (own is not None, f"search.adaptive_exit.threshold={own}", "all blocks are read there; leave it out"),
    ]
    for given, setting, reason in wrong:
        if given:
            raise ConfigError(f"{setting} with search=hf: the expert's texts are made by transformers, and {reason}.")


def _validate_rule(config: RunConfig) -> None:
    """The rule of plausibility is known, the gate can be asked, and the search chooses among single tokens."""
    plausibility_of(config.contrast, contrasted=config.amateur.kind != "none")
    if config.search.kind is SearchKind.hf and config.contrast.plausibility is not None:
        raise ConfigError(
            f"contrast.plausibility={config.contrast.plausibility} with search=hf: transformers chooses among tokens "
            "there. Give search.generate.logits_processor, or leave contrast.plausibility out."
        )
    if config.contrast.gate is Gate.agreement and config.contrast.normalizer is Normalizer.candidates:
        raise ConfigError(
            "contrast.gate=agreement with contrast.normalizer=candidates: whether the amateur agrees is told by its "
            "likeliest token of all, and only those of the plausible ones are worked out. Use contrast.normalizer=full."
        )
    if config.contrast.gate is Gate.callable and config.amateur.kind != "none":
        gate_of(config.contrast.gate_call)
    if config.search.kind is SearchKind.contrastive_search and config.contrast.plausibility is not None:
        raise ConfigError(
            f"contrast.plausibility={config.contrast.plausibility} with search=contrastive_search: that proposes its k "
            "candidates by probability alone. Use search=greedy, beam or sample, or leave contrast.plausibility out."
        )


def _validate_temperature(config: RunConfig) -> None:
    """A temperature can be fitted where one layer's distribution is the amateur, in the form that has a likelihood."""
    amateur, contrast = config.amateur, config.contrast
    if contrast.temperature != CALIBRATED or amateur.kind == "none":
        return
    if not AMATEURS[amateur.kind].fits_temperature(amateur):
        raise ConfigError(
            f"contrast.temperature=calibrated is fitted to one layer of the expert: amateur={amateur.kind} "
            f"with amateur.selection={amateur.selection.name} has none. Give a number."
        )
    if contrast.temperature_form is not TemperatureForm.softmax:
        raise ConfigError(
            f"contrast.temperature=calibrated with contrast.temperature_form={contrast.temperature_form.name}: only "
            "softmax(z / T) is a distribution whose likelihood can be maximised. Give a number, or "
            "contrast.temperature_form=softmax."
        )


def _validate_random(config: RunConfig) -> None:
    """Random weights write nothing that could be scored, and what depends on the values of weights is not measured."""
    amateur, contrast, exits = config.amateur, config.contrast, config.search.adaptive_exit
    needing = [
        (config.metrics.only, f"metrics.only={config.metrics.only}", "texts, and there are none; leave it empty"),
        *((True, *need) for need in [AMATEURS[amateur.kind].needs(amateur)] if need is not None),
        (
            contrast.temperature == CALIBRATED,
            "contrast.temperature=calibrated",
            "probabilities of texts",
        ),
        (amateur.context is Context.removed, "amateur.context=removed", "items with a context"),
        (config.search.kind is SearchKind.hf, "search=hf", "texts: its FLOPs and bytes are not known"),
        (exits.threshold is not None, "search.adaptive_exit", "to know how sure the model is of real texts"),
        (
            contrast.normalizer is not Normalizer.full,
            "contrast.normalizer=candidates",
            "to know what is plausible",
        ),
    ]
    for given, setting, need in needing:
        if given:
            raise ConfigError(
                f"{setting} with expert.weights=random needs {need}: random weights are there to be timed and priced."
            )


def require_stored(expert: ExpertConfig, command: str) -> None:
    """Random weights know nothing. Raises: ConfigError: a command that reads texts was given some."""
    if expert.weights is Weights.random:
        raise ConfigError(
            f"expert.weights=random: {command} reads texts with the model, and random weights say nothing about them. "
            "Leave expert.weights=stored; costs are measured by python -m cdeval.run."
        )


def check_place(config: object) -> None:
    """Check that a study's folder can be written, before anything is read.

    Raises: ConfigError: its name is none. StorageError: nothing can be made there.
    """
    if isinstance(config, RunConfig):
        validate_study_name("study", config.study)
        require_writable(Path(config.runs) / config.study, folder=True)


def validate_study_name(setting: str, name: str) -> None:
    """Check that a study is one folder below the runs folder: no separators, no way out of it. Raises: ConfigError."""
    if not name or name in {".", ".."} or any(sign in name for sign in "/\\\0") or name.startswith("."):
        raise ConfigError(f"{setting}={name!r} cannot name a folder: expected a plain name, such as `{setting}=first`.")
