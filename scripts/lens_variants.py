"""Which linear lens is nearest to the expert on texts that it was not fitted to: `python scripts/lens_variants.py`.

Mean KL(expert || exit) [nats] by layer. Every second text of the tuning splits of news and Wikipedia is fitted to, the
others are held out; no text of the test splits is read. What is a setting of `python -m cdeval.lens` goes by its name:
`weighting` and `ridge`. What is none was tried here, and docs/lenses.md says what came of it:

    fisher     a row's weight is the trace of the Gauss-Newton matrix of the KL: of the covariance of the head's rows
               under the expert's distribution, each times the final norm's scale, over mean(h_L²)
    rank       translators of low rank: each layer's own (reduced-rank regression), or one output space for all layers
    texts      less to learn from, or of one source only
    T          the exit's logits over the temperature that makes its KL least on every second window held out, measured
               on the others
    gradient   `fit.method=gradient`, from zero and from least squares; only with the argument `--gradient`: minutes
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.enums import PromptSource, Split
from cdeval.config.schema import ExpertConfig, PromptsConfig
from cdeval.lens.config import FitConfig, Weighting
from cdeval.lens.fit import fit
from cdeval.lens.least_squares import WINDOW_TOKENS, WINDOWS_AT_ONCE, NormalEquations, weights_of
from cdeval.lens.reading import chunks, windows
from cdeval.models.exits import tap
from cdeval.models.lens import Translator, translated
from cdeval.models.loading import LanguageModel, open_model
from cdeval.prompts.load import whole_texts

EXPERT, LAYERS = "embedded:smollm2", (8, 16, 20, 24, 26, 28)
RIDGE = 1e-3
HELD_A_WINDOW = 24  # positions
TEMPERATURES = [0.8 + 0.05 * step for step in range(25)]

Lens = Mapping[int, Translator]
Weigh = Callable[[Float[Tensor, "row width"]], Float[Tensor, " row"]]


class Read(NamedTuple):
    """Positions of some texts, in the expert's number format."""

    hidden: Mapping[int, Float[Tensor, "row width"]]  # by layer
    last: Float[Tensor, "row width"]

    def part(self, rows: slice | Int[Tensor, " row"]) -> "Read":
        """Some of the positions."""
        return Read({layer: hidden[rows] for layer, hidden in self.hidden.items()}, self.last[rows])


@torch.no_grad()
def read(expert: LanguageModel, texts: Int[Tensor, "window position"], a_window: int | None = None) -> Read:
    """All positions, or so many of each window, drawn at random and in their order."""
    draw = torch.Generator().manual_seed(0)
    parts = []
    for start in range(0, len(texts), WINDOWS_AT_ONCE):
        some = texts[start : start + WINDOWS_AT_ONCE]
        places = torch.stack([torch.randperm(some.shape[1], generator=draw)[:a_window].sort().values for _ in some])
        rows = (places + torch.arange(len(some))[:, None] * some.shape[1]).flatten().to(expert.device)
        with tap(expert.parts, [*LAYERS, expert.parts.depth]) as tapped:
            expert.parts.base(input_ids=some.to(expert.device), use_cache=False)
            kept = {layer: out.flatten(0, 1)[rows] for layer, out in tapped.items()}
        parts.append(kept)
    joined = {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}
    return Read({layer: joined[layer] for layer in LAYERS}, joined[expert.parts.depth])


class Solved(NamedTuple):
    """A lens, and the covariances of what it was fitted to, for lenses of lower rank."""

    lens: Lens
    means: Mapping[int, Float[Tensor, " width"]]
    covariances: Mapping[int, Float[Tensor, "width width"]]


def solve(texts: Read, weigh: Weigh, ridge: float = RIDGE) -> Solved:
    """Weighted least squares, as `cdeval.lens.least_squares`."""
    lens, means, covariances = {}, {}, {}
    rows = 2048
    weights = torch.cat([weigh(part.double()) for part in texts.last.split(rows)])
    for layer, hidden in texts.hidden.items():
        sums = NormalEquations.empty(hidden.shape[1], hidden.device)
        for parts in zip(hidden.split(rows), texts.last.split(rows), weights.split(rows), strict=True):
            sums.add(parts[0].double(), parts[1].double(), parts[2])
        lens[layer] = sums.solve(ridge)
        mean = sums.gram[-1, :-1] / sums.gram[-1, -1]
        means[layer] = mean
        covariances[layer] = sums.gram[:-1, :-1] / sums.gram[-1, -1] - mean[:, None] * mean
    return Solved(lens, means, covariances)


def equal(last: Float[Tensor, "row width"]) -> Float[Tensor, " row"]:
    """As `weighting=equal`."""
    return weights_of(last, Weighting.equal)


def direction(last: Float[Tensor, "row width"]) -> Float[Tensor, " row"]:
    """As `weighting=direction`, the usual one."""
    return weights_of(last, Weighting.direction)


def fisher(expert: LanguageModel) -> Weigh:
    """Weights by the trace of the Gauss-Newton matrix of the KL, with respect to h_L over its root mean square."""
    scale = expert.parts.norm.weight if expert.parts.norm is not None else 1.0
    rows = expert.parts.head_weight.float() * scale
    squares = rows.square().sum(dim=1)

    def weigh(last: Float[Tensor, "row width"]) -> Float[Tensor, " row"]:
        found = []
        for part in last.split(128):
            finished = expert.parts.finish(part.to(expert.model.dtype))
            p = torch.softmax(expert.parts.logits(finished).float(), dim=-1)
            found.append((p @ squares - (p @ rows).square().sum(dim=1)).double() / part.square().mean(dim=1))
        return torch.cat(found)

    return weigh


def of_rank(solved: Solved, rank: int, *, shared: bool) -> Lens:
    """Corrections whose outputs span so many dimensions: those in which they vary most, of each layer or of all."""
    spread = {}
    for layer, one in solved.lens.items():
        wide = one.matrix.double()
        found = wide @ solved.covariances[layer] @ wide.T
        spread[layer] = found / found.trace()
    together = torch.stack(list(spread.values())).sum(dim=0)
    lens = {}
    for layer, one in solved.lens.items():
        basis = torch.linalg.eigh(together if shared else spread[layer]).eigenvectors[:, -rank:]
        projection = basis @ basis.T
        kept = projection @ one.matrix.double()
        # What the correction is at the mean stays as it was.
        bias = one.bias.double() + (one.matrix.double() - kept) @ solved.means[layer]
        lens[layer] = Translator(kept.float(), bias.float())
    return lens


class Measure:
    """KL from the expert at held-out positions."""

    def __init__(self, expert: LanguageModel, texts: Read) -> None:
        self._expert, self._texts = expert, texts
        self._chunks = chunks(expert, len(texts.last))
        self._expected = [self._log_p(expert.parts.finish(texts.last[rows])) for rows in self._chunks]

    def _log_p(self, finished: Float[Tensor, "row head_width"]) -> Float[Tensor, "row vocab"]:
        return torch.log_softmax(self._expert.parts.logits(finished).float(), dim=-1)

    def __call__(self, lens: Lens, temperatures: Sequence[float] = (1.0,)) -> dict[int, Float[Tensor, "row t"]]:
        """By layer, position by position, at each temperature."""
        found = {}
        for layer, translator in lens.items():
            parts = []
            for rows, log_p in zip(self._chunks, self._expected, strict=True):
                finished = self._expert.parts.finish(translated(translator, self._texts.hidden[layer][rows]))
                logits = self._expert.parts.logits(finished).float()
                p = log_p.exp()
                certainty, mean = ((p * part).sum(dim=-1) for part in (log_p, logits))
                divergences = [certainty - mean / t + (logits / t).logsumexp(dim=-1) for t in temperatures]
                parts.append(torch.stack(divergences, dim=1))
            found[layer] = torch.cat(parts)
        return found


def calibrated(measure: Measure, lens: Lens) -> dict[str, dict[int, float]]:
    """On every second window: KL at T = 1, and at the T that is best on the others; that T."""
    found: dict[str, dict[int, float]] = {"T = 1, every second window": {}, "T calibrated on the others": {}, "T": {}}
    for layer, divergences in measure(lens, TEMPERATURES).items():
        by_window = divergences.view(-1, HELD_A_WINDOW, len(TEMPERATURES))
        choosing, measuring = by_window[::2].mean(dim=(0, 1)), by_window[1::2].mean(dim=(0, 1))
        plain = min(range(len(TEMPERATURES)), key=lambda place: abs(TEMPERATURES[place] - 1))
        best = int(choosing.argmin())
        numbers = float(measuring[plain]), float(measuring[best]), TEMPERATURES[best]
        for by_layer, number in zip(found.values(), numbers, strict=True):
            by_layer[layer] = number
    return found


def variants(expert: LanguageModel, fitted: Read) -> Iterator[tuple[str, Lens]]:
    """All closed forms, with their names."""
    yield "weighting=equal", solve(fitted, equal).lens
    usual = solve(fitted, direction)
    yield "weighting=direction", usual.lens
    yield "weighting by fisher", solve(fitted, fisher(expert)).lens
    for ridge in (0.0, 1e-5, 1e-2, 1e-1):
        yield f"ridge={ridge:g}", solve(fitted, direction, ridge).lens
    for rank in (32, 128, 288):
        yield f"rank {rank}, each layer's own", of_rank(usual, rank, shared=False)
        yield f"rank {rank}, one space for all layers", of_rank(usual, rank, shared=True)
    places = torch.arange(len(fitted.last)).view(-1, WINDOW_TOKENS)
    for share in (2, 4):
        yield f"1/{share} of the texts", solve(fitted.part(places[::share].flatten()), direction).lens


def of_sources(measure: Measure, fitted: Read, news: int, held_news: int) -> Iterator[tuple[str, dict[int, float]]]:
    """What texts of the other source bring. Args: of both, so many positions come first that are of the news."""
    for name, part in (
        ("both", fitted),
        ("news", fitted.part(slice(news))),
        ("Wikipedia", fitted.part(slice(news, None))),
    ):
        found = measure(solve(part, direction).lens)
        for where, rows in (("news", slice(held_news)), ("Wikipedia", slice(held_news, None))):
            yield f"fitted to {name}, measured on {where}", {k: float(kl[rows].mean()) for k, kl in found.items()}


def row(name: str, by_layer: Mapping[int, float]) -> None:
    """One line of the table, in Markdown."""
    say(f"| {name} | {' | '.join(f'{by_layer[layer]:.3f}' for layer in LAYERS)} |")


def say(line: str) -> None:
    """As soon as it is known."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table line by line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gradient", action="store_true", help="train by the gradient, too")
    arguments = parser.parse_args()
    expert = open_model(ExpertConfig(EXPERT)).load(packed=False)
    news, wiki = (
        [text.text for text in whole_texts(PromptsConfig(source), Split.tune, WINDOW_TOKENS)]
        for source in (PromptSource.news, PromptSource.wiki)
    )
    to_fit, held = (windows((news + wiki)[start::2], expert.tokenizer, WINDOW_TOKENS) for start in (0, 1))
    of_news = [len(windows(news[start::2], expert.tokenizer, WINDOW_TOKENS)) for start in (0, 1)]
    with torch.no_grad():
        fitted = read(expert, to_fit)
        measure = Measure(expert, read(expert, held, HELD_A_WINDOW))
    count = len(held) * HELD_A_WINDOW
    say(f"fitted to {to_fit.numel()} positions, measured at {count}; usual: ridge={RIDGE:g}, weighting=direction")
    say(f"| | {' | '.join(map(str, LAYERS))} |\n|---|{'---:|' * len(LAYERS)}")
    with torch.no_grad():
        usual = solve(fitted, direction).lens
        for name, lens in variants(expert, fitted):
            row(name, {layer: float(found.mean()) for layer, found in measure(lens).items()})
        for name, by_layer in of_sources(measure, fitted, of_news[0] * WINDOW_TOKENS, of_news[1] * HELD_A_WINDOW):
            row(name, by_layer)
        for name, by_layer in calibrated(measure, usual).items():
            row(name, by_layer)
    for start, rate in ((None, 1e-3), (usual, 1e-3), (usual, 1e-4)) if arguments.gradient else ():
        config = FitConfig(method="gradient", learning_rate=rate)
        lens = fit(expert, to_fit, LAYERS, config, 0, start=start)
        with torch.no_grad():
            scores = {layer: float(found.mean()) for layer, found in measure(lens).items()}
        row(f"gradient from {'least squares' if start else 'zero'}, learning_rate={rate:g}", scores)


if __name__ == "__main__":
    main()
