"""Best of n, a search that cdeval does not have: draw n texts a prompt and keep the one the expert finds likeliest."""

from collections.abc import Sequence

from cdeval.api import Search, SearchKind, decode, load, prompts_from, score
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation, Prompt

LENGTH = 8


def best_of(count: int, expert: LanguageModel, prompts: Sequence[Prompt]) -> list[Generation]:
    """The most probable of `count` sampled texts of each prompt, in the order of the prompts."""
    search = Search(SearchKind.sample, beams=1, samples=count, top_p=0.95, max_new_tokens=LENGTH)
    found: dict[str, Generation] = {}
    for text in decode(expert, prompts, search=search):
        best = found.setdefault(text.id, text)
        if (text.logprob_expert or 0.0) > (best.logprob_expert or 0.0):
            found[text.id] = text
    return list(found.values())


expert = load()
prompts = prompts_from("news", expert, limit=2, max_new_tokens=LENGTH)
arms = {
    "best of 4": best_of(4, expert, prompts),
    "beam search": decode(expert, prompts, search=Search(max_new_tokens=LENGTH)),
}
scored = score(arms, metrics=["diversity", "words"])
for label, values in scored.scores.items():
    print(f"{label:12}", *(f"{name} {value.value:.2f}" for name, value in values.items()))
