"""Rules of plausibility."""
