"""Writes fables.csv as prompts that cdeval reads: one JSON object a line, with an id and a text."""

import csv
import json
from pathlib import Path

rows = csv.DictReader(Path(__file__).with_name("fables.csv").read_text("utf-8").splitlines())
items = [{"id": row["title"], "text": row["text"]} for row in rows]
Path("fables.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
print(f"{len(items)} texts in fables.jsonl")
