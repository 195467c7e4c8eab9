"""Prompts: beginnings of texts, and how their authors went on."""
