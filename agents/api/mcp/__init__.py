"""`/mcp`: the watchdog as tools for coding agents, over stateless JSON."""
