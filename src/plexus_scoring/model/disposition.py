"""What is to become of a message, in words that every transport can map."""

from __future__ import annotations

import msgspec

from plexus_scoring.model.errors import ErrorInfo


class Ack(msgspec.Struct, frozen=True):
    """The work is durable: the message may go."""


class Retry(msgspec.Struct, frozen=True):
    """Deliver the message again, not before `after` seconds.

    `counted` says whether this try is to count against the transport's own limit of deliveries, where the
    transport can choose.
    """

    after: float
    counted: bool = True


class DeadLetter(msgspec.Struct, frozen=True):
    """The message can never work: keep it in the dead-letter queue, with its reason."""

    reason: ErrorInfo


Disposition = Ack | Retry | DeadLetter
