"""Is a service: it runs programs in the sandbox and prints how they ended. Started by another user's Python, too."""

import asyncio
import json
import sys

import msgspec

from plexus_scoring.engines.sandbox.base import SandboxLimits
from plexus_scoring.engines.sandbox.local import LocalSandbox


async def main():
    sandbox = LocalSandbox()
    for line in sys.stdin:
        asked = json.loads(line)
        files = {name: text.encode() for name, text in asked["files"].items()}
        try:
            async with sandbox.open(files) as workspace:
                result = await workspace.run(
                    asked["command"], limits=SandboxLimits(**asked.get("limits", {}))
                )
            answer = msgspec.to_builtins(result)
        except Exception as error:  # noqa: BLE001  the test looks at it
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)  # noqa: T201  the answer


asyncio.run(main())
