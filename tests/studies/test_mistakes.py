"""The command as a user mistypes it: one message that says what was given, what was expected and what to do."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cdeval.assets.embedded import ASSETS
from cdeval.cli import run_command
from cdeval.run import run
from tests.commands import CHEAP, cdeval


@pytest.fixture
def mistyped(
    stand_ins: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Sequence[str], Path], str]:
    """The one message that a mistake gets in a folder; in this process, since each new one imports torch first."""

    def message_of(typed: Sequence[str], folder: Path) -> str:
        monkeypatch.chdir(folder)
        arguments = [part for argument in typed for part in stand_ins.get(argument, [argument])]
        monkeypatch.setattr(sys, "argv", ["cdeval.run", *arguments])
        with pytest.raises(SystemExit) as stopped:
            run_command(run)
        printed = capsys.readouterr().err
        assert stopped.value.code == 2, printed
        assert "Traceback" not in printed
        (message,) = [line for line in printed.splitlines() if line.startswith("error: ")]
        return message

    return message_of


# What was typed, and what the message must say; <tiny> and <prompts> stand for a good model and good prompts.
MISTAKES: list[tuple[list[str], str]] = [
    (["contrast.alhpa=0.1"], "Did you mean 'alpha'?"),
    (["+contrast.alhpa=0.1"], "Did you mean 'alpha'?"),
    (["+layer=3"], "Did you mean 'amateur.layer'?"),
    (["amatuer=none"], "Did you mean 'amateur'?"),
    (["contrast.alpha=high"], "'high' of type 'str' could not be converted to Float"),
    (["search.beams=2.5"], "could not be converted to Integer"),
    (["contrast.temperature_form=log"], "expected one of [softmax, logprob]"),
    (["metrics.only=[diversty]"], "metrics.only=[diversty]: there is none of that name. Did you mean 'diversity'?"),
    (
        ["search=beem"],
        "search=beem: there is none of that name. Did you mean 'beam'? Known: beam, calm, contrastive_search, eta,",
    ),
    (["contrast.alpha=0"], "contrast.alpha=0.0 is out of range: expected a number in (0, 1]"),
    (["contrast.alpha=1.5"], "(0, 1]"),
    (["contrast.temperature=0"], "contrast.temperature=0 is out of range: expected a number in [0.001, 10000]"),
    (["contrast.temperature=warm"], "expected a number in [0.001, 10000] or calibrated"),
    (["contrast.temperature=calibrated", "amateur=dola"], "calibrated is fitted to one layer of the expert"),
    (["contrast.temperature=calibrated", "contrast.temperature_form=logprob"], "only softmax(z / T) is a distribution"),
    (["contrast.temperature=nan"], "expected a number in [0.001"),
    (["contrast.beta=-1"], "expected a number in [0, 1000]"),
    (["search.beams=0"], "search.beams=0 is out of range: expected 1 to 1000"),
    (["search.max_new_tokens=0"], "expected 1 to 1000000"),
    (["search=greedy", "search.beams=5"], "greedy search has 1 beam"),
    (["search=nucleus", "search.top_p=1.5"], "search.top_p=1.5 is out of range: expected a number in (0, 1) or null"),
    (["search=nucleus", "search.top_p=0"], "search.top_p=0.0 is out of range"),
    (["search=top_k", "search.top_k=0"], "search.top_k=0 is out of range: expected 1 to 10000000 or null"),
    (["search=min_p", "search.min_p=-1"], "expected a number in (0, 1] or null"),
    (["search=typical", "search.typical_p=1"], "search.typical_p=1.0 is out of range"),
    (["search=eta", "search.eta=1"], "search.eta=1.0 is out of range"),
    (["search=sample", "search.temperature=0"], "search.temperature=0.0 is out of range: expected a number in [0.001"),
    (["search=sample", "search.samples=0"], "search.samples=0 is out of range: expected 1 to 10000"),
    (["search=nucleus", "search.beams=5"], "For several texts a prompt use search.samples=5"),
    (["search=beam", "search.samples=3"], "search.samples=3 is not read with search=beam: add search=sample"),
    (
        ["search=greedy", "search.temperature=0.7"],
        "search.temperature=0.7 is not read with search=greedy: add search=sample",
    ),
    (["search.penalty=0.5"], "search.penalty=0.5 is not read with search=beam: add search=contrastive_search"),
    (["search=contrastive_search"], "has no amateur; add amateur=none"),
    (["search=contrastive_search", "amateur=none", "search.penalty=2"], "search.penalty=2.0 is out of range"),
    (
        ["search=contrastive_search", "amateur=none", "search.top_p=0.9"],
        "search.top_p=0.9 is not read with search=contrastive_search",
    ),
    (["study=../elsewhere"], "cannot name a folder"),
    (["execution.workers=8"], "execution.workers=8 is not read with execution=local: add execution=ray"),
    (["execution=ray", "execution.workers=0"], "execution.workers=0 is out of range: expected 1 to 1024"),
    (["execution=ray", "execution.tries=0"], "execution.tries=0 is out of range: expected 1 to 10"),
    (["execution=ray", "execution.gpus=1.5"], "execution.gpus=1.5: expected whole GPUs, or a fraction below 1"),
    (["execution=ray", "execution.threads=some"], "expected 1 to 1024 or auto"),
    (["execution=slurm"], "execution=slurm: there is none of that name. Known: local, ray. A file of your own needs"),
    (
        ["amateur=blurred"],
        "noise, none, opt-125m, pruned, sled, truncated. One of your own needs plugins=[",
    ),
    (["amateur=blurred", "amateur.share=2"], "unknown setting 'amateur.share'"),
    (["contrast.gap=2"], "One of your own needs plugins=[<its file or module>]"),
    (["contrast.plausibility=unknown"], "there is none of that name. Known: all, alpha, eta, min_k,"),
    (["expert=hub"], "expert.name has no value"),
    (["prompts=file"], "prompts=file needs prompts.path"),
    (["<tiny>", "<prompts>", "amateur.layer=12"], "L=12 blocks, and an exit comes after 1 to 11"),
    (["<tiny>", "<prompts>", "amateur.layer=0"], "amateur.layer=0 is out of range"),
    (
        ["<tiny>", "<prompts>", "amateur.layer=1.5"],
        "expected a whole number of blocks from 1, or a fra",
    ),
    (["<tiny>", "<prompts>", "amateur.layer=deep"], "amateur.layer=deep is out of range"),
    (["<tiny>", "<prompts>", "amateur.layer=[4,5]"], "--multirun amateur.layer=4,5; for a choice at every token"),
    (["<tiny>", "<prompts>", "amateur.layer=4", "amateur.selection=jsd"], "amateur.layer=4 leaves no choice"),
    (["<tiny>", "<prompts>", "amateur=dola", "amateur.layer=[4,15]"], "amateur.layer=15 is outside"),
    (
        ["<tiny>", "<prompts>", "amateur=calm", "amateur.layer=[4,5]", "amateur.threshold=2"],
        "expected a number in [0, 1]",
    ),
    (["<tiny>", "<prompts>", "amateur=calm", "amateur.measure=entropy"], "expected one of [softmax, saturation]"),
    (["<tiny>", "<prompts>", "amateur=truncated", "amateur.layer=[4,5]"], "a truncated model has one last block"),
    (
        ["<tiny>", "<prompts>", "amateur=truncated", "amateur.lens=raw"],
        "add amateur=early_exit, or leave",
    ),
    (
        ["<tiny>", "<prompts>", "amateur=ngram", "amateur.selection=jsd"],
        "add amateur=early_exit, or leave",
    ),
    (["<tiny>", "<prompts>", "amateur.lens=tuned"], "amateur.lens=tuned needs amateur.lens_file"),
    (["<tiny>", "<prompts>", "amateur.lens_file=a"], "is not read with amateur.lens=linear"),
    (["<tiny>", "<prompts>", "amateur.lens=tuned", "amateur.lens_file=nowhere"], "lens_file=nowhere is not a file"),
    (["<tiny>", "<prompts>", "amateur.lens=tuned", "amateur.lens_file=a_file"], "a_file cannot be read as a lens"),
    (["<tiny>", "<prompts>", "amateur.lens=norm", "contrast.temperature=calibrated"], "none is left to learn an"),
    (["<tiny>", "<prompts>", "amateur=truncated", "amateur.layer=12"], "an exit comes after 1 to 11"),
    (["<tiny>", "<prompts>", "amateur.context=generated"], "amateur=early_exit reads what the expert reads"),
    (["amateur=pruned", "amateur.left_out=null"], "needs amateur.left_out: numbers of blocks, the first one is 1"),
    (["amateur=pruned", "amateur.left_out=[0,1]"], "amateur.left_out=[0,1]: expected numbers of blocks"),
    (["amateur=pruned", "amateur.left_out=[2,2]"], "each once"),
    (["amateur=pruned", "amateur.left_out=[some]"], "amateur.left_out=[some]: expected numbers of blocks"),
    (["amateur.left_out=[3]"], "amateur.left_out=[3] is not read with amateur=early_exit: add amateur=pruned"),
    (
        ["<tiny>", "<prompts>", "amateur.layer=null", "amateur=pruned", "amateur.left_out=[13]"],
        "L=12 blocks, 1 to 12, of which at least one must be left",
    ),
    (["amateur=masked_heads", "amateur.heads=[3]"], "3 is no head: expected block.head, both from 1"),
    (["amateur=masked_heads", "amateur.heads=[1.2,1.2]"], "amateur.heads=[1.2,1.2]: expected each head once"),
    (["amateur=masked_heads", "amateur.retrieval_heads=0"], "amateur.retrieval_heads=0 is out of range"),
    (["amateur.heads=[1.1]"], "amateur.heads=[1.1] is not read with amateur=early_exit: add amateur=masked_heads"),
    (
        ["<tiny>", "<prompts>", "amateur.layer=null", "amateur=masked_heads", "amateur.heads=[12.10]"],
        "12.10 is outside: ",
    ),
    (["amateur=sled", "amateur.sled_tokens=0"], "amateur.sled_tokens=0 is out of range"),
    (["amateur.sled_tokens=5"], "is not read with amateur.selection=fixed: add amateur.selection=sled"),
    (["contrast.weight=sometimes"], "expected one of [constant, entropy]"),
    (
        ["contrast.weight_most=2"],
        "is not read with contrast.weight=constant: add contrast.weight=entropy",
    ),
    (["contrast.weight=entropy", "contrast.weight_most=0"], "contrast.weight_most=0.0 is out of range"),
    (["contrast.gate_entropy=2"], "is not read with contrast.gate=always: add contrast.gate=entropy"),
    (["contrast.gate=entropy", "contrast.gate_entropy=-1"], "contrast.gate_entropy=-1.0 is out of range"),
    (["contrast.gate=agreement", "contrast.normalizer=candidates"], "Use contrast.normalizer=full."),
    (["amateur=none", "contrast.gate=agreement"], "contrast.gate=agreement is not read with amateur=none"),
    (["amateur=noise", "amateur.bits=null"], "amateur.bits=null and amateur.dropout=0 is the expert itself"),
    (["amateur=noise", "amateur.bits=1"], "amateur.bits=1 is out of range: expected 2 to 16 or null; 4 is usual"),
    (["amateur=noise", "amateur.dropout=1"], "amateur.dropout=1.0 is out of range"),
    (["amateur=noise", "amateur.noise_seed=2"], "is not read with amateur.dropout=0.0: add amateur.dropout=0.1"),
    (["amateur.bits=3"], "amateur.bits=3 is not read with amateur=early_exit: add amateur=noise"),
    (["<tiny>", "<prompts>", "amateur=context", "amateur.context=full"], "is the expert itself, word for word"),
    (["<tiny>", "<prompts>", "amateur=context", "amateur.context=negative"], "needs amateur.negative: the text that"),
    (["<tiny>", "<prompts>", "amateur=context", "amateur.negative=x"], "is not read with amateur.context=generated"),
    (
        ["<tiny>", "<prompts>", "amateur=context", "amateur.layer=null", "amateur.context=removed"],
        "'text-0' has none: expected prompts=file",
    ),
    (["<tiny>", "<prompts>", "amateur.context=empty"], "amateur.context=empty needs amateur=truncated"),
    (["<tiny>", "<prompts>", "amateur=model", "amateur.name=null"], "amateur=model needs amateur.name"),
    (["<tiny>", "<prompts>", "amateur=checkpoint"], "is the expert itself"),
    (["<tiny>", "<prompts>", "amateur=ngram", "amateur.order=0"], "amateur.order=0 is out of range"),
    (["<tiny>", "<prompts>", "amateur.order=4"], "order=4 is not read with amateur=early_exit: add amateur=ngram, or"),
    (["<tiny>", "<prompts>", "amateur=ngram", "amateur.layer=2"], "add amateur=early_exit or amateur=truncated, or"),
    (["<tiny>", "<prompts>", "amateur.layer=null"], "amateur=early_exit needs amateur.layer"),
    (["<tiny>", "<prompts>", "search.max_new_tokens=600", "prompts.prompt_tokens=1"], "texts are too short"),
    (["<tiny>", "prompts=file", "prompts.path=whole.jsonl", "search.max_new_tokens=510"], "exceed the context"),
    (["<tiny>", "prompts=file", "prompts.path=nowhere.jsonl"], "nowhere.jsonl"),
    (["<tiny>", "prompts=file", "prompts.path=empty.jsonl"], "empty"),
    (["<tiny>", "prompts=file", "prompts.path=field.jsonl"], "promt"),
    (["<tiny>", "prompts=file", "prompts.path=broken.jsonl"], "line 2"),
    (["<tiny>", "prompts=file", "prompts.path=latin.jsonl"], "UTF-8"),
    (["expert.name=./nowhere"], "not a folder"),
    (["expert.name=empty_folder"], "folder without a model"),
    (["expert.name=embedded:gpt2"], "embedded:smollm2"),
    (["expert.dtype=float8"], "expected one of [auto, float32, bfloat16, float16]"),
    (["<tiny>", "<prompts>", "expert.device=toaster"], "expected auto, cpu, cuda"),
    (["<tiny>", "<prompts>", "runs=a_file"], "a_file"),
]


# What somebody types who has not read a page yet, and all that is printed; {0} stands for the tiny model's folder.
FIRST: list[tuple[list[str], str]] = [
    (["layers"], "'layers' is no setting: expected name=value, as amateur.layer=20. Type +sweep=layers."),
    (
        ["amateur.layer", "20"],
        "'amateur.layer' is no setting: expected name=value, as amateur.layer=20. Type amateur.layer=20.",
    ),
    (
        ["--train"],
        "there is no argument --train. A setting has a value: type train=<value>. --help lists all settings.",
    ),
    (["--multirun", "--cfg", "job"], "--cfg and --multirun exclude each other: leave out all but one."),
    (
        ["--contrast.alpha", "3"],
        "contrast.alpha=3.0 is out of range: expected a number in (0, 1]; 0.1 is the published value.",
    ),
    (["layer=20"], "unknown setting 'layer': there is no 'layer'. Did you mean 'amateur.layer'?"),
    (["metrics.only=mauve,words"], "metrics.only='mauve','words': expected a list. Type metrics.only=[mauve,words]."),
]
# The same, where a file that is named says what is wrong: it is asked before torch is loaded.
OF_FILES: list[tuple[list[str], str]] = [
    (
        ["<tiny>", "prompts=nowhere.jsonl"],
        "prompts.path=nowhere.jsonl does not exist: expected a JSON list or one JSON object a line, each with "
        '"prompt" (and "reference"), or with "text".',
    ),
    (
        ["<tiny>", "<prompts>", "amateur.layer=12"],
        "amateur.layer=12 is outside {0}: it has L=12 blocks, and an exit comes after 1 to 11 of them.",
    ),
    (
        ["amateur.layer=31"],
        "amateur.layer=31 is outside embedded:smollm2: it has L=30 blocks, and an exit comes after 1 to 29 of them.",
    ),
    (
        ["<tiny>", "prompts=./broken.jsonl"],
        "broken.jsonl, line 2: not JSON (Unterminated string starting at at column 12); expected a JSON list or one "
        'JSON object a line, each with "prompt" (and "reference"), or with "text".',
    ),
    (
        ["<tiny>", "<prompts>", "amateur.layer=6", "runs=a_file"],
        "a_file/embedded cannot be made: A file is where a folder is needed, a_file. Move it away, or name another "
        "folder (runs=, out= or into=).",
    ),
    (
        ["<tiny>", "<prompts>", "amateur=model", "amateur.name=./nowhere"],
        "amateur.name=./nowhere is not a folder: give a hub id such as gpt2, an existing model folder, or a GGUF file.",
    ),
    (
        ["<tiny>", "<prompts>", "amateur.layer=6", "amateur.lens=tuned", "amateur.lens_file=nowhere"],
        "lens_file=nowhere is not a file: train a lens with `python -m cdeval.lens train=true`, which says where "
        "it is.",
    ),
    (
        ["expert=./empty_folder"],
        "./empty_folder is a folder without a model: it has no config.json. Give a folder "
        "written by save_pretrained (config.json, tokenizer.json, model.safetensors).",
    ),
    (
        ["expert=./nowhere"],
        "expert.name=./nowhere is not a folder: give a hub id such as gpt2, an existing model folder, or a GGUF file.",
    ),
]


@pytest.mark.parametrize(("typed", "printed"), FIRST + OF_FILES, ids=[" ".join(typed) for typed, _ in FIRST + OF_FILES])
def test_the_first_mistakes_of_a_new_user(
    typed: list[str],
    printed: str,
    messy: Path,
    stand_ins: dict[str, list[str]],
    mistyped: Callable[[Sequence[str], Path], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the letter: what was given, what was expected, and the line to type."""
    monkeypatch.setenv("CDEVAL_CACHE", str(messy / "cache"))
    assert mistyped(typed, messy) == f"error: {printed.format(stand_ins['<tiny>'][0].removeprefix('expert.name='))}"


IN_TURN = """
import json, sys
from cdeval.cli import run_command
from cdeval.run import run
from cdeval.store import progress
progress._SOON = 60.0
for sys.argv[1:] in json.loads(sys.argv[1]):
    try:
        run_command(run)
    except SystemExit as ended:
        print(ended.code, *{"torch", "transformers"} & set(sys.modules))
"""


def test_mistakes_of_files_are_answered_before_torch_is_loaded(messy: Path, stand_ins: dict[str, list[str]]) -> None:
    """In a process of its own, since this one has loaded torch, whose import takes most of what an answer may take."""
    typed = [[part for word in line for part in stand_ins.get(word, [word])] for line, _ in OF_FILES]
    program = [sys.executable, "-c", IN_TURN, json.dumps(typed)]
    environment = {**os.environ, "CDEVAL_CACHE": str(messy / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(program, cwd=messy, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [*["2"] * len(OF_FILES), ""], done.stderr
    expert = stand_ins["<tiny>"][0].removeprefix("expert.name=")
    assert done.stderr.splitlines() == [f"error: {printed.format(expert)}" for _, printed in OF_FILES]


@pytest.fixture(scope="session")
def stand_ins(tiny_gpt2_folder: Path, prompts_file: Path) -> dict[str, list[str]]:
    return {
        "<tiny>": [f"expert.name={tiny_gpt2_folder}", *CHEAP],
        "<prompts>": ["prompts=file", f"prompts.path={prompts_file}"],
    }


@pytest.fixture(scope="session")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that can be wrong with a prompts file."""
    folder = tmp_path_factory.mktemp("messy")
    (folder / "empty.jsonl").write_text("")
    (folder / "field.jsonl").write_text('{"promt": "The quick brown fox"}\n')
    (folder / "broken.jsonl").write_text('{"prompt": "The quick"}\n{"prompt": "brown\n{"prompt": "fox"}\n')
    (folder / "latin.jsonl").write_bytes('{"prompt": "café"}\n'.encode("latin-1"))
    (folder / "whole.jsonl").write_text('{"prompt": "The quick brown fox jumps over the lazy dog"}\n')
    (folder / "a_file").write_text("not a folder")
    (folder / "empty_folder").mkdir()
    cached = folder / "cache" / ASSETS["smollm2"].folder
    cached.mkdir(parents=True)
    (cached / "config.json").write_text('{"num_hidden_layers": 30}')
    return folder


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[" ".join(typed) for typed, _ in MISTAKES])
def test_a_mistake_gets_one_clear_message(
    typed: list[str], expected: str, messy: Path, mistyped: Callable[[Sequence[str], Path], str]
) -> None:
    layered = "<tiny>" not in typed or any(argument.startswith("amateur.layer") for argument in typed)
    assert expected in mistyped([*typed, *([] if layered else ["amateur.layer=6"]), "tracking=none"], messy)


@pytest.mark.parametrize(
    ("setting", "more"),
    [
        ("amateur.name", ["amateur=model"]),
        ("metrics.scorer", ["amateur.layer=6", "metrics.only=[perplexity_expert]"]),
        ("metrics.mauve_features", ["amateur.layer=6", "metrics.only=[mauve]"]),
        ("metrics.embedder", ["amateur.layer=6", "metrics.only=[coherence]"]),
    ],
)
def test_a_mistyped_model_is_named_by_its_setting_before_anything_is_decoded(
    setting: str, more: list[str], tmp_path: Path, mistyped: Callable[[Sequence[str], Path], str]
) -> None:
    """All texts were decoded first, and then expert.name was blamed."""
    typed = ["<tiny>", "<prompts>", "tracking=none", *more, f"{setting}=./nowhere"]
    assert f"{setting}=./nowhere" in mistyped(typed, tmp_path)
    assert not list(tmp_path.rglob("generations.jsonl"))


@pytest.mark.long
def test_a_mistake_ends_the_process_with_2_and_no_traceback(tmp_path: Path) -> None:
    """Also without a hub: the answer comes in seconds, and names what works without one."""
    for typed, expected in [("contrast.alhpa=1", "Did you mean"), ("expert=gpt2", "expert=smollm2 (embedded)")]:
        failed = cdeval([typed], tmp_path, HF_HUB_OFFLINE="1")
        assert failed.returncode == 2, failed.stderr
        assert expected in failed.stderr
        assert "Traceback" not in failed.stderr
