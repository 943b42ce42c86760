"""An agent with greenlets: gevent has patched everything before the SDK is imported."""

from gevent import monkey, spawn, joinall, sleep  # noqa: I001 - patching comes first

monkey.patch_all()

import clevagent  # noqa: E402


def work(number):
    for _ in range(50):
        with clevagent.iteration(), clevagent.tool("search", {"q": number}):
            clevagent.log_cost(1, 0.01)
            sleep(0.001)


clevagent.init(interval=1)
joinall([spawn(work, number) for number in range(20)], raise_error=True)
assert clevagent.flush()
clevagent.shutdown()
print("fine")
