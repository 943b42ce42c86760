from tests.client_sdk.integrations.cases import Integration


class TestLanggraph(Integration):
    """Its graph is interrupted for a person once, which is not an error."""

    NAME, ENVIRONMENT = "langgraph", "langchain"
    CALLS = []
    STEPS = 4
    ERRORS = ["node:fall error: no ground"]
