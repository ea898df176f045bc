"""What FIFO queues of SQS want of a message: a group, and an id by which a repetition is recognised."""

from __future__ import annotations

import hashlib
import math
import re
import uuid

# AWS, "SendMessage", MessageGroupId and MessageDeduplicationId.
_FIFO_ID = re.compile("[!-~]{1,128}")


def is_fifo(queue: str) -> bool:
    """Whether a URL or an ARN is of a FIFO queue."""
    return queue.endswith(".fifo")


def fifo_id(text: str) -> str:
    """Return `text`, or a hash of a text that SQS takes for no id."""
    return text if _FIFO_ID.fullmatch(text) else digest(text)


def digest(*parts: str) -> str:
    """Return an id of a content: SQS drops a second message that has it within five minutes."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def placing(queue: str, group: str, *, once: str | None = None) -> dict[str, str]:
    """Return SendMessage's further arguments for a FIFO queue; none for another.

    Args:
        queue: Its URL.
        group: Messages of one group stay in order.
        once: What makes two messages the same one; None: every message is another.
    """
    if not is_fifo(queue):
        return {}
    same = uuid.uuid4().hex if once is None else fifo_id(once)
    return {"MessageGroupId": fifo_id(group), "MessageDeduplicationId": same}


def delay(queue: str, seconds: float) -> dict[str, int]:
    """Return SendMessage's delay, which FIFO queues have for all their messages only."""
    return {} if is_fifo(queue) else {"DelaySeconds": min(900, max(0, math.ceil(seconds)))}
