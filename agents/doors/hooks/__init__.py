"""Hooks of coding agents: one event in, facts out, one file per program. Pure."""
