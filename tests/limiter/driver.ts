// Evaluates one JSON string of JavaScript per line of standard input, with the module as `limiter`.

import * as limiter from '@/lib/security/rate-limiter-redis';
import { createInterface } from 'node:readline';

const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (
  ...source: string[]
) => (...values: unknown[]) => Promise<unknown>;

async function timed(check: () => Promise<object>): Promise<object> {
  const start = performance.now();
  const result = await check();
  return { ...result, ms: performance.now() - start };
}

/** `n` checks at the same time. */
function atOnce(n: number, check: (i: number) => Promise<object>): Promise<object[]> {
  return Promise.all(Array.from({ length: n }, (_, i) => timed(() => check(i))));
}

/** `n` checks, each after the one before. */
async function inTurn(n: number, check: (i: number) => Promise<object>): Promise<object[]> {
  const results: object[] = [];
  for (let i = 0; i < n; i += 1) results.push(await timed(() => check(i)));
  return results;
}

async function answer(line: string): Promise<object> {
  try {
    const run = new AsyncFunction('limiter', 'atOnce', 'inTurn', JSON.parse(line) as string);
    return { value: await run(limiter, atOnce, inTurn) };
  } catch (error) {
    return { error: error instanceof Error ? error.stack : String(error) };
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  void answer(line).then((result) => console.log(`=> ${JSON.stringify(result)}`));
});
