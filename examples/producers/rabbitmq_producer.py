"""Submit one text over RabbitMQ and print the response: ``python rabbitmq_producer.py "some text"``.

Needs ``pip install aio-pika`` and a worker on the same queue, which declares it.
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import UTC, datetime

import aio_pika


async def main() -> None:
    """Send an inline job and wait for its response on a queue of our own."""
    url = os.environ.get("PLEXUS_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1/")
    queue = os.environ.get("PLEXUS_RABBITMQ_REQUEST_QUEUE", "plexus-scoring-requests")
    request = {
        "request_id": str(uuid.uuid4()),  # send the same id again, and nothing is scored twice
        "scorecard": os.environ.get("SCORECARD", "call-centre-quality"),
        "score": os.environ.get("SCORE", "Greeting"),
        "item": {"text": sys.argv[1] if len(sys.argv) > 1 else "Hello, how may I help you?"},
    }
    async with await aio_pika.connect(url) as connection:
        # A message that no queue takes, because no worker has ever run, is an error and not a silent loss.
        channel = await connection.channel(on_return_raises=True)
        replies = await channel.declare_queue(exclusive=True)
        message = aio_pika.Message(
            json.dumps(request).encode(),
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=request["request_id"],
            timestamp=datetime.now(UTC),  # from which the worker tells how old the queue is
            reply_to=replies.name,
        )
        await channel.default_exchange.publish(message, routing_key=queue)
        async with replies.iterator() as responses:
            async for response in responses:
                await response.ack()
                print(response.body.decode())
                return


asyncio.run(main())
