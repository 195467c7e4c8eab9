"""The files of other programs, one module a format: what they hold becomes prompts, texts and references."""
