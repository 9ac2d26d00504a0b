// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Sends one job for each URL: node send.js HOST:PORT QUEUE URL...
import { Queue } from 'bullmq';

const [redis, name, ...urls] = process.argv.slice(2);
const [host, port] = redis.split(':');
const queue = new Queue(name, { connection: { host, port: Number(port) } });
await queue.addBulk(urls.map((url) => ({ name: 'call', data: { url }, opts: { removeOnComplete: false } })));
await queue.close();
