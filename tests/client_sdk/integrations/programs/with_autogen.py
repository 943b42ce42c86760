"""An AutoGen 0.2 chat: one agent requests a tool, the other runs it."""

from __future__ import annotations

import twice
from autogen import Agent, AssistantAgent, GroupChat, GroupChatManager, UserProxyAgent, register_function
from clevagent.integrations.autogen import clevagent_reply_func, monitored_chat

CONFIG = {"config_list": [{"model": "gpt-4o-mini", "price": [0, 0]}], "cache_seed": None}


def weather(city: str) -> str:
    return f"sunny in {city}"


def broken(city: str) -> str:
    raise ValueError(f"no such city: {city}")


def is_answer(message: dict[str, object]) -> bool:
    return message.get("content") == "yes"


def pair(config: dict[str, object] = CONFIG) -> tuple[UserProxyAgent, AssistantAgent]:
    assistant = AssistantAgent("assistant", llm_config=config)
    user = UserProxyAgent("user", human_input_mode="NEVER", code_execution_config=False, is_termination_msg=is_answer)
    for tool in (weather, broken):
        register_function(tool, caller=assistant, executor=user, name=tool.__name__, description=tool.__name__)
    return user, assistant


def ask() -> None:
    user, assistant = pair()
    for _ in range(2):
        monitored_chat(user, assistant, message="weather in Paris?", max_turns=3, silent=True)


def ask_a_group() -> None:
    user, assistant = pair()
    group = GroupChat(agents=[user, assistant], speaker_selection_method="round_robin", messages=[], max_round=4)
    monitored_chat(user, GroupChatManager(group), message="weather in Paris?", silent=True)


def registered_by_hand_with_one_side() -> None:
    user, assistant = pair()
    assistant.register_reply([Agent], clevagent_reply_func)
    user.initiate_chat(assistant, message="weather in Paris?", max_turns=3, silent=True)


def fail() -> None:
    user, assistant = pair()
    monitored_chat(user, assistant, message="call broken", max_turns=3, silent=True)


def unreachable() -> None:
    nowhere = {"model": "gpt-4o-mini", "price": [0, 0], "base_url": twice.NOWHERE, "max_retries": 0}
    user, assistant = pair({"config_list": [nowhere], "cache_seed": None})
    monitored_chat(user, assistant, message="hello", max_turns=1, silent=True)


twice.run(ask, ask_a_group, registered_by_hand_with_one_side, fail, unreachable)
