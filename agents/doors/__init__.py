"""Agents of every kind report here without our SDK: OpenTelemetry, hooks of coding agents, gateways."""
