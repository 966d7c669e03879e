// Asks without a pause, for one client after the other, until it is told to end (SIGTERM). Then it asks once more for
// each, which pays what this process has let in by itself meanwhile, and prints what it was answered.
// It says "counts" once Redis does, before it begins. NETWORK, an address' first byte, tells its clients from another's.

import { checkLoginRateLimit, checkReclamationRateLimit } from '@/lib/security/rate-limiter-redis';
import { config } from 'dotenv';
import { setTimeout as pause } from 'node:timers/promises';

config({ path: process.env['ENV_FILE'] ?? '/opt/medaction/.env', quiet: true });

let goesOn = true;
process.on('SIGTERM', () => (goesOn = false));

const answers: Record<string, number> = {};

/** Whether Redis has counted this. */
async function ask(client: number): Promise<boolean> {
  const address = `${process.env['NETWORK'] ?? 100}.${client >> 16}.${(client >> 8) & 255}.${client & 255}`;
  const { allowed, reason } = await checkReclamationRateLimit(address);
  const answer = `${allowed ? 'allowed' : 'refused'} ${reason}`;
  answers[answer] = (answers[answer] ?? 0) + 1;
  return reason === 'within_limit';
}

async function load(): Promise<void> {
  while ((await checkLoginRateLimit(`warm-${process.pid}-${Date.now()}`)).reason !== 'within_limit') await pause(50);
  console.log('counts');
  let clients = 0;
  for (; goesOn; clients += 1) {
    await ask(clients);
    await pause(10);
  }
  for (let client = 0; client < clients; client += 1) if (!(await ask(client))) await pause(500).then(() => ask(client));
  console.log(JSON.stringify(answers));
  process.exit(0);
}

void load();
