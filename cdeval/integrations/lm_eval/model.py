"""The model `cdeval` of lm-evaluation-harness.

    generate_until          by cdeval's engine, under the arm's search and contrast
    loglikelihood           by the contrast's redistributed distribution, or by the expert (`likelihood=`)
    loglikelihood_rolling   the same

How a task asks to be decoded (do_sample, temperature, num_beams, …) gives way to the arm's own search; `until` and the
number of tokens are the task's. A text ends by its end token, unless `search.ban` forbids that, and is cut before the
first of `until`; it is decoded up to its length all the same, and so is its price.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, simple_parse_args_string

from cdeval.config.enums import SearchKind
from cdeval.decode.batches import decode
from cdeval.decode.finite import not_finite
from cdeval.decode.forced import Likelihood, ReadText, likelihoods
from cdeval.decode.lanes import Lane
from cdeval.errors import ModelError
from cdeval.integrations.lm_eval.arms import HarnessArm, open_arms
from cdeval.integrations.lm_eval.settings import arm_of
from cdeval.prompts.tokens import TextCodec

_log = logging.getLogger(__name__)
_KNOWN = ("until", "max_gen_toks")  # of a task's wishes, those that are followed


class ItemCost(NamedTuple):
    """What the answers to one item of a task took."""

    flops: float = 0.0  # NaN: they are not known
    seconds: float = 0.0  # of its batches, over their texts


class CdevalLM(TemplateLM):  # type: ignore[misc]  # lm_eval has no types
    """An arm that answers."""

    def __init__(self, arm: HarnessArm) -> None:
        super().__init__()
        self.arm = arm
        self.expert = arm.models.expert
        self.tokenizer = self.expert.tokenizer
        #: By task and item.
        self.costs: dict[tuple[str | None, int | None], ItemCost] = {}
        self._codec = TextCodec(self.tokenizer)
        self._overruled: set[str] = set()

    @classmethod
    def create_from_arg_obj(cls, arg_dict: Mapping[str, Any], additional_config: Any = None) -> "CdevalLM":
        """Open the arm that settings ask for, by their names on a command's line. Raises: CdevalError: they cannot."""
        config, by = arm_of({**_usual(additional_config or {}), **arg_dict})
        return cls(open_arms([config], by, _log.info)[0])

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Any = None) -> "CdevalLM":
        """Do the same with `name=value,name=value`. Raises: CdevalError: as `create_from_arg_obj`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @property
    def eot_token_id(self) -> int:
        """The end of a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without a context, as lm_eval's own models choose it."""
        begin = self.tokenizer.bos_token_id
        return int(self.eot_token_id if begin is None else begin)

    @property
    def max_length(self) -> int:
        """Tokens that all models of the arm can read."""
        return self.arm.longest

    @property
    def tokenizer_name(self) -> str:
        """Name the tokenizer, for lm_eval's caches."""
        return self.expert.name.replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Write a chat as the tokenizer does."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def get_model_info(self) -> dict[str, str]:
        """Say what answers, for lm_eval's files of results."""
        return {
            "expert": self.expert.name,
            "model_fingerprint": self.expert.fingerprint,
            "model_dtype": self.expert.dtype_name,
            "arm": self.arm.label,
        }

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Encode a text as the beginning of one, with BOS where the tokenizer adds it, or without special tokens."""
        if add_special_tokens is False:
            plain: list[int] = self.tokenizer.encode(string, add_special_tokens=False)
            return plain
        return self._codec.prompt_ids(string)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Read continuations of contexts; a context that is too long loses its beginning."""
        texts = [self._pair(*request.args) for request in requests]
        found = self._read(texts)
        for request, text, one in zip(requests, texts, found, strict=True):
            self._pay(request, self.arm.flops(self.arm.scoring, len(text.prompt), len(text.continuation)), one.seconds)
            self.cache_hook.add_partial("loglikelihood", request.args, (one.log_p, one.greedy))
        return [(one.log_p, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Read whole texts, those that are longer than the context in windows."""
        owners: list[int] = []
        windows: list[ReadText] = []
        for place, request in enumerate(requests):
            cut = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for context, continuation in map(make_disjoint_window, cut):
                owners.append(place)
                windows.append(ReadText(tuple(context), tuple(continuation)))
        sums = [0.0] * len(requests)
        for place, text, one in zip(owners, windows, self._read(windows), strict=True):
            sums[place] += one.log_p
            flops = self.arm.flops(self.arm.scoring, len(text.prompt), len(text.continuation))
            self._pay(requests[place], flops, one.seconds)
        for request, total in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return sums

    def _loglikelihood_tokens(self, requests: Sequence[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        """Read contexts and continuations that are tokens already."""
        found = self._read([ReadText(tuple(context), tuple(text)) for _, context, text in requests])
        return [(one.log_p, one.greedy) for one in found]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continue contexts. Raises: ModelError: there is no room for one, or the model's numbers are not finite."""
        asked = [self._asked(*request.args) for request in requests]
        lanes = [
            Lane(prompt, replace(self.arm.setting, max_new_tokens=most), f"{request.task_name} {request.doc_id}")
            for request, (prompt, most, _) in zip(requests, asked, strict=True)
        ]
        longest = max((len(lane.prompt) + lane.setting.max_new_tokens for lane in lanes), default=1)
        texts = [""] * len(requests)
        models, execution = self.arm.models.amateur_models, self.arm.execution
        batches = decode(
            self.expert,
            lanes,
            max_lanes=self.arm.max_lanes(self.arm.setting, longest),
            compact_every=execution.compact_every,
            compiling=execution.compile,
            amateur_models=models,
            say=_log.info,
        )
        for batch in batches:
            for place, found in zip(batch.lanes, batch.continuations, strict=True):
                lane, request = lanes[place], requests[place]
                if found.fault is not None:
                    raise not_finite(found.fault, self.expert, lane.id, lane.setting)
                whole = self._codec.continuation_text(found.token_ids, lane.prompt)
                texts[place] = cut_before(whole, asked[place][2])
                new = len(found.token_ids) + found.ended
                self._pay(
                    request, self._flops(lane, new, found.exit_layers), batch.stats.wall_seconds / len(batch.lanes)
                )
                self.cache_hook.add_partial("generate_until", request.args, texts[place])
        return texts

    def _flops(self, lane: Lane, new: int, exit_layers: Sequence[int]) -> float:
        if lane.setting.search is SearchKind.hf:
            return float("nan")
        return self.arm.flops(lane.setting, len(lane.prompt), new, exit_layers)

    def _read(self, texts: Sequence[ReadText]) -> list[Likelihood]:
        found: dict[int, Likelihood] = {}
        longest = max((len(text.prompt) + len(text.continuation) for text in texts), default=1)
        lanes = self.arm.max_lanes(self.arm.scoring, longest)
        models, compiling = self.arm.models.amateur_models, self.arm.execution.compile
        for place, one in likelihoods(self.expert, texts, self.arm.scoring, models, lanes, compiling):
            found[place] = one
        return [found[place] for place in range(len(texts))]

    def _pair(self, context: str, continuation: str) -> ReadText:
        """The tokens of a context and of what continues it; a word that the seam cuts is encoded whole."""
        if context:
            before, after = self._encode_pair(context, continuation)
        else:
            before, after = [self.prefix_token_id], self.tok_encode(continuation, add_special_tokens=False)
        if not after:
            raise ModelError(
                f"the continuation {continuation[:60]!r} adds no token to its context: nothing can be read."
            )
        room = self.max_length + 1 - len(after)  # the last token is not read
        if room < 1:
            raise ModelError(f"a continuation has {len(after)} tokens, and {self.expert.name} reads {self.max_length}.")
        return ReadText(tuple(before[-room:]), tuple(after))

    def _asked(self, context: str, wishes: Mapping[str, Any]) -> tuple[tuple[int, ...], int, list[str]]:
        """The prompt, the number of new tokens, and where the text is cut."""
        wanted = normalize_gen_kwargs(dict(wishes), self.arm.setting.max_new_tokens)
        greedy = self.arm.setting.search is SearchKind.greedy and not wanted.get("do_sample")
        followed = (*_KNOWN, *(("do_sample", "temperature") if greedy else ()))
        overruled = {name for name in wishes if name in wanted and name not in followed} - self._overruled
        if overruled:
            self._overruled |= overruled
            _log.warning("%s of the task give way to the arm's own search: %s", sorted(overruled), self.arm.label)
        most = int(wanted["max_gen_toks"])
        room = self.max_length - most
        if room < 1:
            raise ModelError(
                f"max_gen_toks={most} leaves no room for a prompt: {self.expert.name} reads {self.max_length} tokens. "
                "Lower it, as --gen_kwargs max_gen_toks=64."
            )
        prompt = self.tok_encode(context)[-room:] or [self.prefix_token_id]
        return tuple(prompt), most, [stop for stop in wanted["until"] if stop]

    def _pay(self, request: Instance, flops: float, seconds: float) -> None:
        key = (request.task_name, request.doc_id)
        known = self.costs.get(key, ItemCost())
        self.costs[key] = ItemCost(known.flops + flops, known.seconds + seconds)


def _usual(given: Mapping[str, Any]) -> dict[str, Any]:
    """What lm_eval's command hands over beside the model's own settings, without its defaults.

    These are a GPU, be there one or not, and texts one by one: ours are what the machine has.
    """
    left_out = {"device": ("cuda", "cuda:0"), "batch_size": (1, "1")}
    return {name: value for name, value in given.items() if value not in (None, *left_out.get(name, ()))}


def cut_before(text: str, stops: Sequence[str]) -> str:
    r"""The text before the first of some strings.

    >>> cut_before("4\nQ: 3", ["Q:", "\n"])
    '4'
    """
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]
