"""Two tasks of lm_eval's with twenty items each, one that generates and one of choices, without any network."""

import json
from pathlib import Path

WORDS = "quick brown fox jumps over the lazy dog and runs into forest near old river results study clear model small"
_GENERATES = """
output_type: generate_until
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], max_gen_toks: 5, temperature: 0.0, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
_CHOOSES = """
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def write_tasks(folder: Path) -> Path:
    """Write tiny_gen and tiny_mc into a folder; returns it."""
    words = WORDS.split()
    folder.mkdir()
    asked = [{"question": f"the {word} fox", "answer": words[place - 1]} for place, word in enumerate(words)]
    chosen = [
        {"question": f"the {word}", "choices": [f" {words[place - one]}" for one in (1, 2, 3)], "gold": place % 3}
        for place, word in enumerate(words)
    ]
    for name, items, rest in (("tiny_gen", asked, _GENERATES), ("tiny_mc", chosen, _CHOOSES)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        (folder / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {folder}/{name}.jsonl}}}}\n"
            f'test_split: test\ndoc_to_text: "{{{{question}}}}"\n{rest}'
        )
    return folder
