// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// A BullMQ worker that starts warm. node worker.js --redis 127.0.0.1:6379 --listen 127.0.0.1:8080
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { Worker } from 'bullmq';
import { followRole } from './role.js';

const { values: args } = parseArgs({
  options: {
    redis: { type: 'string', default: '127.0.0.1:6379' },
    queue: { type: 'string', default: 'work' },
    listen: { type: 'string', default: '0.0.0.0:8080' },
    'role-file': { type: 'string' },
  },
});
const hostAndPort = (address) => ({ host: address.split(':')[0], port: Number(address.split(':')[1]) });

// The work of one job: call the URL in it.
async function work(job) {
  const response = await fetch(job.data.url, { method: 'POST' });
  if (!response.ok) throw new Error(`${job.data.url}: ${response.status}`);
}

// autorun: false is what keeps it from taking jobs. It connects, and that is all.
const worker = new Worker(args.queue, work, {
  connection: { ...hostAndPort(args.redis), maxRetriesPerRequest: null },
  autorun: false,
  concurrency: 1,
});
worker.on('error', (err) => console.error(err.message));
await worker.waitUntilReady();

let role, drained = false;
const follower = followRole(async (now) => {
  role = now;
  if (role === 'active' && !worker.isRunning()) worker.run().catch((err) => worker.emit('error', err));
  if (role === 'draining') {
    await worker.pause(); // takes no new job; resolves when those at hand are finished
    drained = true;
  }
}, args['role-file']);

const server = createServer((_, response) => {
  response.statusCode = drained ? 503 : 200;
  response.end(drained ? 'drained\n' : `${role}\n`);
}).listen(hostAndPort(args.listen));

process.once('SIGTERM', async () => {
  clearInterval(follower);
  await worker.close(); // finishes the jobs at hand
  server.close();
  server.closeAllConnections();
});
