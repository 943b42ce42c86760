"""Situations from public bug reports of other tools: one file per report, with its source and the situation."""
