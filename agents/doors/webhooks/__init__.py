"""Webhooks that come in: who sent them, and what they say, one file per sender."""
