"""`python -m cdeval.tasks`: arms side by side on the tasks of lm-evaluation-harness."""
