"""Agent frameworks, one file each. Only that file imports the framework."""

from __future__ import annotations

ALL = (
    "langchain",
    "langgraph",
    "crewai",
    "autogen",
    "agentchat",
    "openai_agents",
    "pydantic_ai",
    "claude_agent",
)
