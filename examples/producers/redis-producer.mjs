// Submit one text over Redis with BullMQ and print the response: npm install && node redis-producer.mjs "some text"
import { randomUUID } from "node:crypto";
import { Queue, Worker } from "bullmq";

const { hostname: host, port, password } = new URL(process.env.PLEXUS_REDIS_URL ?? "redis://127.0.0.1:6379/0");
const connection = { host, port: Number(port || 6379), password: password || undefined, maxRetriesPerRequest: null };
const requestId = randomUUID(); // send the same id again, and nothing is scored twice
const replies = `replies-${requestId}`;

const requests = new Queue(process.env.PLEXUS_REDIS_REQUEST_QUEUE ?? "plexus-scoring-requests", { connection });
await requests.add("score", {
  request_id: requestId,
  scorecard: process.env.SCORECARD ?? "call-centre-quality",
  score: process.env.SCORE ?? "Greeting",
  item: { text: process.argv[2] ?? "Hello, how may I help you?" },
  reply_to: replies,
});

const response = await new Promise((resolve) => {
  const worker = new Worker(replies, async (job) => resolve([job.data, worker]), { connection });
});
const [data, worker] = response;
console.log(JSON.stringify(data));
await worker.close();
await new Queue(replies, { connection }).obliterate({ force: true });
await requests.close();
process.exit(0);
