"""The function that the embedded AWS runs in place of the real one: it hands each event to the local runtime.

ministack runs a function in a wrapper of its own, not under awslambdaric. With this in between, its event source
mapping still decides on batches, visibility and redrive, and the real runtime client runs the handler.
This file is packed by itself and runs in ministack's interpreter: standard library only.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.request
from typing import Any


class ForwardedFunctionError(Exception):
    """The function answered with an error."""


def handler(event: Any, context: Any) -> Any:
    """Return what the function returns for this event, or raise what it raised."""
    seconds = context.get_remaining_time_in_millis() / 1000
    request = urllib.request.Request(  # noqa: S310 - set by the deployment, always http to loopback
        os.environ["PLEXUS_LOCAL_INVOCATIONS_URL"],
        data=json.dumps(event).encode(),
        headers={"Content-Type": "application/json", "X-Amz-Log-Type": "Tail"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=seconds) as response:
        answer = json.loads(response.read())
        # ministack answers LogType=Tail with what its worker writes.
        log = base64.b64decode(response.headers.get("X-Amz-Log-Result", ""))
        sys.stderr.write(log.decode("utf-8", "replace"))
        sys.stderr.flush()
        if response.headers.get("X-Amz-Function-Error"):
            kind = answer.get("errorType", "Error")
            raise ForwardedFunctionError(f"{kind}: {answer.get('errorMessage', '')}")
        return answer
