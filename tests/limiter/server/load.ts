// Asks without a pause, each client twice, until it is told to end (SIGTERM); then prints what it was answered.
// It waits until Redis counts, and says "counts" before it begins.

import { checkLoginRateLimit, checkReclamationRateLimit } from '@/lib/security/rate-limiter-redis';
import { config } from 'dotenv';
import { setTimeout as pause } from 'node:timers/promises';

config({ path: process.env['ENV_FILE'] ?? '/opt/medaction/.env', quiet: true });

let goesOn = true;
process.on('SIGTERM', () => (goesOn = false));

async function load(): Promise<void> {
  const answers: Record<string, number> = {};
  let asked = 0;
  while ((await checkLoginRateLimit(`warm-${process.pid}-${Date.now()}`)).reason !== 'within_limit') await pause(50);
  console.log('counts');
  for (; goesOn; asked += 1) {
    const client = asked >> 1;
    const { allowed, reason } = await checkReclamationRateLimit(`100.${client >> 16}.${(client >> 8) & 255}.${client & 255}`);
    const answer = `${allowed ? 'allowed' : 'refused'} ${reason}`;
    answers[answer] = (answers[answer] ?? 0) + 1;
    await pause(10);
  }
  console.log(JSON.stringify({ asked, answers }));
  process.exit(0);
}

void load();
