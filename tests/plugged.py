"""Plug-ins from outside the package, as a user's own files, for tests."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdeval.config.amateur import AMATEURS
from cdeval.config.plausibility import RULES

MINE = '''
import torch
from cdeval import amateur, number, plausibility
from cdeval.decode.reader import Reader


@plausibility("near_best", gap=number(2.0, least=0, most=100))
def near_best(log_expert, gap):
    return log_expert >= log_expert.amax(-1, keepdim=True) - gap


@plausibility("nothing")
def nothing(log_expert):
    return torch.zeros_like(log_expert, dtype=torch.bool)


@amateur("blurred", share=number(0.1, least=0, most=1))
def blurred(logits, uniform, share):
    return torch.where(uniform < share, logits.mean(-1, keepdim=True), logits)


@amateur("itself")
class Itself:
    """The expert once more, with a cache of its own."""

    def __init__(self, expert, lanes):
        self.reader, self.expert = Reader(expert, lanes[0].setting.beams), expert

    @property
    def peak_slots(self):
        return self.reader.cache.peak_slots

    def prefill(self, prompts):
        hidden, sources = self.reader.prefill(prompts)
        self.hidden = hidden[sources, -1:]

    def read(self, tokens):
        self.hidden = self.reader.read(tokens)

    def reorder(self, parent):
        self.reader.cache.reorder(parent)

    def compact(self):
        self.reader.cache.compact()

    def logits(self, expert):
        found = self.expert.parts.logits(self.hidden)
        torch.testing.assert_close(found, expert, atol=1e-3, rtol=1e-3)
        return found * 0.5


@amateur("raises", depth=2)
def raises(logits, depth):
    raise RuntimeError(f"no depth {depth}")


@amateur("narrow")
def narrow(logits):
    return logits[..., :3]


@amateur("nans")
def nans(logits):
    return logits * float("nan")


@plausibility("numbers")
def numbers(log_expert):
    return log_expert


from cdeval.config.enums import Context
from cdeval.decode.amateurs.model import ModelSource
from cdeval.models.truncate import truncate


@amateur("shallow", blocks=2)
class Shallow(ModelSource):
    """The expert's first blocks as a model of its own."""

    @staticmethod
    def load(expert, blocks):
        return truncate(expert, blocks)

    def __init__(self, model, expert, lanes, blocks):
        super().__init__(model, Context.full, expert, lanes)
'''


@contextmanager
def plugged(folder: Path, source: str = MINE) -> Iterator[Path]:
    """Import a module that lies outside the package, and take its methods out of the registries afterwards."""
    path, name = folder / "mine.py", f"mine_{id(source)}"
    path.write_text(source)
    before = {registry: {method.name for method in registry.plugged()} for registry in (AMATEURS, RULES)}
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        yield path
    finally:
        del sys.modules[name]
        for registry, names in before.items():
            for method in registry.plugged():
                if method.name not in names:
                    registry.forget(method.name)
