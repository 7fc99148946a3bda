"""Which model answers. Keys come from the environment of the worker and are stored nowhere."""

from typing import Final

from django.conf import settings
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from apps.agents.models import AgentVersion
from apps.runs.precedent import NAME as PRECEDENT
from apps.runs.precedent import PrecedentChatModel

TIMEOUT_S: Final = 60
"""A provider that does not answer for so long counts as failed."""
MAX_RETRIES: Final = 2


def model_name(version: AgentVersion) -> str:
    """Return the name of the model: the agent's own, or AGENT_MODEL."""
    return version.agent.model or str(settings.AGENT_MODEL)


def chat_model(version: AgentVersion) -> BaseChatModel:
    """Make the model of a version: `precedent`, or any provider that LangChain knows, such as `openai:gpt-…`."""
    name = model_name(version)
    if name == PRECEDENT:
        return PrecedentChatModel(version_id=version.pk, settings=version.settings)
    return init_chat_model(name, timeout=TIMEOUT_S, max_retries=MAX_RETRIES)
