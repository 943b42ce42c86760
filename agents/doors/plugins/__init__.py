"""Plugins that this server hands out."""
