// Measures each contender in turn, many times over in a random order, and prints one JSON line of results.
// Every contender has a connection of its own; 50 loops each wait for their answer before they ask again.

import * as limiter from '@/lib/security/rate-limiter-redis';
import { Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';

const CONCURRENCY = 50;
const ROUNDS = Number(process.env.ROUNDS);
const ROUND_MS = 300;
const CLIENTS = Array.from({ length: 5000 }, (_, i) => `198.51.${i >> 8}.${i & 255}`);
const url = process.env.BENCH_URL!;

const SLIDING_WINDOW = `
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, ms - ARGV[2] * 1000)
local used = redis.call('ZCARD', KEYS[1])
if used < tonumber(ARGV[1]) then
  redis.call('ZADD', KEYS[1], ms, now[1] .. now[2] .. '-' .. ARGV[3])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return used`;

type Check = (client: string, serial: number) => Promise<unknown>;

const defaults = new RateLimiterRedis({
  storeClient: new Redis(url), keyPrefix: 'defaults', points: 1e9, duration: 3600,
});
const sliding = new Redis(url) as Redis & { slide(...words: (string | number)[]): Promise<number> };
sliding.defineCommand('slide', { numberOfKeys: 1, lua: SLIDING_WINDOW });
const raw = new Redis(url, { enableAutoPipelining: true });

const contenders: Record<string, Check> = {
  limiter: (client) => limiter.checkBenchRateLimit(client),
  defaults: (client) => defaults.consume(client),
  sliding: (client, serial) => sliding.slide(`sliding:${client}`, 20, 3600, serial),
  raw: (client) => raw.incrby(`raw:${client}`, 1),
};

async function round(check: Check): Promise<{ perSecond: number; latencies: number[] }> {
  const latencies: number[] = [];
  const start = performance.now();
  let serial = 0;
  const loop = async (): Promise<void> => {
    for (let now = performance.now(); now - start < ROUND_MS; ) {
      serial += 1;
      await check(CLIENTS[(serial * 7919) % CLIENTS.length]!, serial);
      const after = performance.now();
      latencies.push(after - now);
      now = after;
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, loop));
  return { perSecond: (latencies.length / (performance.now() - start)) * 1000, latencies };
}

function quantile(values: number[], q: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]!;
}

async function main(): Promise<void> {
  while ((await limiter.checkBenchRateLimit('first')).reason !== 'within_limit') {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const rates: Record<string, number[]> = {};
  const latencies: Record<string, number[]> = {};
  for (let i = 0; i <= ROUNDS; i += 1) {
    for (const name of Object.keys(contenders).sort(() => Math.random() - 0.5)) {
      const measured = await round(contenders[name]!);
      if (i === 0) continue; // the compilers warm up
      (rates[name] ??= []).push(measured.perSecond);
      (latencies[name] ??= []).push(...measured.latencies);
    }
  }
  const results = Object.keys(contenders).map((name) => [
    name,
    { rates: rates[name], p50: quantile(latencies[name]!, 0.5), p99: quantile(latencies[name]!, 0.99) },
  ]);
  console.log(`=> ${JSON.stringify({ value: Object.fromEntries(results) })}`);
  process.exit(0);
}

void main();
