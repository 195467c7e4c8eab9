"""The named choices of `conf/`: what each setting may be, with its meaning and source."""

from enum import Enum


class Dtype(Enum):
    """Number format of the weights; scores are float32 whatever it is."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Weights(Enum):
    """The origin of a model's weights.

    stored: its files. random: the true architecture without its weights, to be timed and priced; no texts are made.
    """

    stored = "stored"
    random = "random"


class Context(Enum):
    """The context that an amateur with a forward pass of its own reads.

    full: prompt and continuation, as the expert. generated: the prompt's last token and the continuation (the ignored
    prefix of Li et al. 2022, section 3.4). empty: the token that begins a text, and the continuation. negative: the
    text of `amateur.negative` in the prompt's place, and the continuation (Sanchez et al. 2023). removed: all but the
    prompt's `context` (Shi et al. 2023).
    """

    full = "full"
    generated = "generated"
    empty = "empty"
    negative = "negative"
    removed = "removed"


class TemperatureForm(Enum):
    """The way in which the amateur's temperature enters the score.

    softmax: log softmax(z / T), re-normalised (the seed experiment). logprob: log softmax(z) / T, not re-normalised
    (the code of Li et al. 2022). They differ by a constant per prefix, so they rank one beam's tokens alike and
    different beams differently.
    """

    softmax = "softmax"
    logprob = "logprob"


class Normalizer(Enum):
    """Over which tokens the amateur's probabilities sum to one.

    full: the vocabulary, as published. candidates: the expert's plausible tokens, so that only their rows of the head
    are multiplied. A prefix's tokens rank alike under both, so greedy search and sampling make the same texts; beams
    compare scores of different prefixes, so under beam search it is another objective, an approximation.
    """

    full = "full"
    candidates = "candidates"


class Form(Enum):
    """The formula of the contrast; every one acts on the plausible tokens V_head.

    difference: log p_e - beta log p_a, nothing outside (Li et al. 2022). amplified: (1 + beta) log p_e - beta log p_a,
    nothing outside (O'Brien & Lewis 2023). redistributed: the expert's probability of V_head shared out by the softmax
    of the difference, the expert's own probabilities outside (Gera et al. 2023, autocontrastive decoding).
    """

    difference = "difference"
    amplified = "amplified"
    redistributed = "redistributed"


class TopHForm(Enum):
    """The entropy that the rule top_h holds below h times that of all tokens (`cdeval.decode.plausibility.top_h`).

    cumulative: the sum of -p log p over the kept tokens, of the 100 likeliest (the code of transformers).
    renormalised: the entropy of the kept tokens' own distribution (its documentation, and Potraghloo et al. 2025).
    """

    cumulative = "cumulative"
    renormalised = "renormalised"


class Pool(Enum):
    """The (beam, token) pairs that a step of beam search chooses from.

    all: every pair. local: from the second step on, the 2 * beams pairs that the expert finds most probable at this
    step, whatever their beams have collected (the code of Li et al. 2022); as many where texts may end by themselves.
    """

    all = "all"
    local = "local"


class SearchKind(Enum):
    """The search for the next tokens.

    sample: drawn at random; top-k, nucleus, typical, min-p and eta sampling are settings of it. contrastive_search: by
    probability and unlikeness to the text so far (Su et al. 2022); despite its name it has no amateur. hf: by
    `generate` of transformers, with any arguments that it takes (`search.generate`).
    """

    beam = "beam"
    greedy = "greedy"
    sample = "sample"
    contrastive_search = "contrastive_search"
    hf = "hf"

    @property
    def seeded(self) -> bool:
        """Whether the seed shapes texts, and a prompt may have several."""
        return self in (SearchKind.sample, SearchKind.hf)


class Ban(Enum):
    """Tokens that are never generated.

    special: every special token (end of text, chat markers, padding) and every vocabulary row without a token. eos:
    the end of text only. Both make every continuation exactly `max_new_tokens` long. none: texts may end by themselves.
    free: the end of text is a token as any other, neither banned nor an end (the seed experiment).
    """

    special = "special"
    eos = "eos"
    none = "none"
    free = "free"


class PromptSource(Enum):
    """The source of the prompts.

    news, wiki, speeches: embedded. news_wiki: news, then wiki; a text belongs to the same split as it does alone.
    """

    news = "news"
    wiki = "wiki"
    news_wiki = "news_wiki"
    speeches = "speeches"
    wikitext103 = "wikitext103"
    ccnews = "ccnews"
    file = "file"


class Split(Enum):
    """The texts of a source that are used: settings are chosen on `tune`, results are reported on `test`."""

    tune = "tune"
    test = "test"
    all = "all"

    @property
    def other(self) -> "Split":
        """The split that a command which learns on this one must not learn on."""
        return Split.test if self is Split.tune else Split.tune


class DiversityProtocol(Enum):
    """The way in which n-grams are counted (`cdeval.metrics.diversity`).

    corrected: all of them, nothing rounded. published: as simctg's code counts, which Su et al. and Li et al. report.
    """

    corrected = "corrected"
    published = "published"


class Codebook(Enum):
    """The arms whose features are clustered together for MAUVE.

    shared: the human texts and all arms, so that values of different arms compare (mauve issue 13). pairwise: the human
    texts and one arm, anew for each, by mauve-text itself, as published.
    """

    shared = "shared"
    pairwise = "pairwise"


class Pooling(Enum):
    """The way in which an encoder's token states become one vector.

    auto: as the model itself says (a sentence-transformers folder), or what is known by its name (SimCSE). pooler:
    BERT's pooler output. mean: the mean over tokens.
    """

    auto = "auto"
    pooler = "pooler"
    mean = "mean"


class Notes(Enum):
    """Whether the screen shows a verdict and a table alone, or also what the report says of them."""

    short = "short"
    all = "all"  # every note, every column and every difference


class Tracker(Enum):
    """The tracker that is told of the results, after they are on disk."""

    none = "none"
    wandb = "wandb"
    trackio = "trackio"  # on this machine, without an account


class WandbMode(Enum):
    """Whether W&B runs are kept on disk (`wandb sync` sends them later) or sent at once."""

    offline = "offline"
    online = "online"


class Compile(Enum):
    """Whether a step of decoding is compiled into one program (`cdeval.decode.static`); the texts are the same."""

    auto = "auto"  # on a GPU, where that is possible
    never = "never"
    always = "always"  # on any device; an error where it is not possible


class ExecutorKind(Enum):
    """The executor that decodes."""

    local = "local"  # this process
    ray = "ray"  # Ray actors that each hold the models
