"""Every SDK call once, on any Python. Prints `fine` if none raised or disturbed the program."""

import asyncio
import threading
import time

import clevagent


@clevagent.monitor("nightly")
async def nightly():
    await asyncio.sleep(0)
    return "done"


@clevagent.tool("add")
def add(a, b):
    return a + b


def main():
    clevagent.init(interval=1, labels={"team": "research"}, cost_limit_usd=25, spool="spool", auto_cost=True)
    with clevagent.iteration(), clevagent.tool("search", {"q": "x"}, timeout=60) as call:
        call.result = ["found"]
    clevagent.log_iteration(2)
    clevagent.log_cost(10, 0.25, model="m")
    clevagent.log_usage(model="gpt-5", provider="openai", input_tokens=5, output_tokens=1, call_id="r1")
    clevagent.log_prompt("hello")
    assert add(1, b=2) == 3
    assert asyncio.run(nightly()) == "done"
    with clevagent.waiting("approval", until=60):
        assert clevagent.flush()
    thread = threading.Thread(target=clevagent.ping, kwargs={"message": "from a thread"})
    thread.start()
    thread.join()
    time.sleep(1.1)
    assert not clevagent.should_stop()
    clevagent.shutdown()
    print("fine")


main()
