"""Agent frameworks, one file each. A framework is imported by its file, and by nothing else of the package."""

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
