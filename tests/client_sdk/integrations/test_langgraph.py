from tests.client_sdk.integrations.cases import Integration


class TestLanggraph(Integration):
    """Its graph stops once for a person, which is no error."""

    NAME, ENVIRONMENT = "langgraph", "langchain"
    CALLS = []
    STEPS = 4
    ERRORS = ["node:fall error: no ground", "Chain error: no ground"]
