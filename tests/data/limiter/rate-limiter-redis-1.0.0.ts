// Managed by the medaction deploy (templates/app/rate-limiter-redis.ts.j2): change the settings rate_limits,
// rate_limits_open_without_redis, redis_key_prefix or app_trusted_proxies, not this file.
//
// Rate limits that every instance of the app shares, in Redis, on the npm packages rate-limiter-flexible and
// ioredis. Node runtime only: in a Next.js route write `export const runtime = 'nodejs'` (the default).
//
// What it relies on:
// - A window begins with its first request and ends on Redis' clock; no decision reads this host's date.
// - ioredis' `status` is 'ready' only after AUTH and INFO were answered. While it is anything else, or Redis
//   refuses to write, this process decides by itself, at once; ioredis reconnects in the background.
// - A request is added to a counter in one Lua script, so no two instances can both take the last place.

import { createHash } from 'node:crypto';
import { BlockList, isIP, isIPv4 } from 'node:net';
import { Redis } from 'ioredis';
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';

export type RateLimitReason =
  | 'within_limit'
  | 'limit_reached'
  | 'redis_away_within_limit' // counted by this process alone
  | 'redis_away_limit_reached'
  | 'redis_away_open'; // over this process' own limit, let through by rate_limits_open_without_redis

export interface RateLimitResult {
  allowed: boolean;
  /** How many more requests this window allows. */
  remaining: number;
  /** 0 when allowed; otherwise the whole seconds, at least 1, until the window ends. */
  retryAfterSeconds: number;
  reason: RateLimitReason;
  limit: number;
  resetAfterSeconds: number;
}

interface Limit {
  name: string;
  points: number;
  windowSeconds: number;
  openWithoutRedis: boolean;
}

/** 5/15min */
export function checkLoginRateLimit(identifier: string): Promise<RateLimitResult> {
  return check(LIMITS.login, identifier);
}

/** 100/min; open while Redis is away */
export function checkApiRateLimit(identifier: string): Promise<RateLimitResult> {
  return check(LIMITS.api, identifier);
}

/** 30/min; open while Redis is away */
export function checkMobileApiRateLimit(identifier: string): Promise<RateLimitResult> {
  return check(LIMITS.mobile_api, identifier);
}

/** 5/h */
export function checkReclamationRateLimit(identifier: string): Promise<RateLimitResult> {
  return check(LIMITS.reclamation, identifier);
}

/** 3/h */
export function checkRegistrationRateLimit(identifier: string): Promise<RateLimitResult> {
  return check(LIMITS.registration, identifier);
}

/** 3/h */
export function checkPasswordResetRateLimit(identifier: string): Promise<RateLimitResult> {
  return check(LIMITS.password_reset, identifier);
}

/** 150/h */
export function checkCrowdRateLimit(identifier: string): Promise<RateLimitResult> {
  return check(LIMITS.crowd, identifier);
}

/** 3/2s */
export function checkMomentRateLimit(identifier: string): Promise<RateLimitResult> {
  return check(LIMITS.moment, identifier);
}

const LIMITS = {
  login: limitOf('login', 5, 900, { openWithoutRedis: false }),
  api: limitOf('api', 100, 60, { openWithoutRedis: true }),
  mobile_api: limitOf('mobile_api', 30, 60, { openWithoutRedis: true }),
  reclamation: limitOf('reclamation', 5, 3600, { openWithoutRedis: false }),
  registration: limitOf('registration', 3, 3600, { openWithoutRedis: false }),
  password_reset: limitOf('password_reset', 3, 3600, { openWithoutRedis: false }),
  crowd: limitOf('crowd', 150, 3600, { openWithoutRedis: false }),
  moment: limitOf('moment', 3, 2, { openWithoutRedis: false }),
};

function limitOf(name: string, points: number, windowSeconds: number, policy: { openWithoutRedis: boolean }): Limit {
  return { name, points, windowSeconds, ...policy };
}

const PREFIX = 'medaction';
const CLIENT_IP_HEADER = 'x-forwarded-for';
const TRUSTED_PROXIES: string[] = ['127.0.0.0/8', '::1/128'];

/** How long Redis may be silent before it counts as frozen; the requests of that moment wait this long. */
const SILENCE_MS = 250;
/** How many clients each limiter remembers for the time when Redis is away (about 200 bytes each). */
const REMEMBERED_CLIENTS = 20_000;

/** The headers of a response: draft-ietf-httpapi-ratelimit-headers-06; on a refusal Retry-After (RFC 9110). */
export function rateLimitHeaders(result: RateLimitResult): Record<string, string> {
  const headers: Record<string, string> = {
    'RateLimit-Limit': String(result.limit),
    'RateLimit-Remaining': String(result.remaining),
    'RateLimit-Reset': String(result.resetAfterSeconds),
  };
  if (!result.allowed) headers['Retry-After'] = String(result.retryAfterSeconds);
  return headers;
}

// --- Who is asking ------------------------------------------------------------------------------------------

/** A NextRequest, a Request, or anything with their headers; `ip` where the platform gives the peer's address. */
export interface RequestLike {
  headers: { get(name: string): string | null };
  ip?: string | null;
}

/**
 * The client's address, or 'unknown'.
 *
 * Each proxy adds, on the right, the address that it was spoken to from. So the header is read from the right,
 * past the trusted proxies, up to the first address that is not one of them; what stands further left is only
 * what the client says. Next.js gives no socket address: the right-most entry is believed, so the app must be
 * reachable through its proxy alone. (Next.js itself writes the peer's address when the header is missing.)
 */
export function getClientIP(request: RequestLike): string {
  const forwarded = request.headers.get(CLIENT_IP_HEADER)?.split(',') ?? [];
  const hops = request.ip ? [...forwarded, request.ip] : forwarded;
  let client = 'unknown';
  for (const hop of hops.reverse()) {
    const address = addressOf(hop);
    if (!address) break; // not an address: the last hop that was one is all we know
    client = address;
    if (!isTrustedProxy(address)) break;
  }
  return client;
}

/** The address in 192.0.2.1:80, [2001:db8::1]:80 or ::ffff:192.0.2.1, written in the one usual way, or ''. */
function addressOf(text: string): string {
  const bare = text.trim().replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1').replace(/%[^]*$/, '');
  if (isIP(bare) !== 6) return isIPv4(bare) ? bare : '';
  const canonical = new URL(`http://[${bare}]`).hostname.slice(1, -1); // lower case, no zeros, no IPv4 tail
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(canonical)?.slice(1).map((group) => parseInt(group, 16));
  return mapped ? mapped.flatMap((group) => [group >> 8, group & 255]).join('.') : canonical;
}

/** Longer than any address with its port and zone: what is longer is not searched for one. */
const LONGEST_ADDRESS = 64;

let trustedProxies: BlockList | undefined;

function isTrustedProxy(address: string): boolean {
  trustedProxies ??= TRUSTED_PROXIES.reduce((list, network) => {
    const [base = '', bits = ''] = network.split('/');
    list.addSubnet(base, Number(bits), isIPv4(base) ? 'ipv4' : 'ipv6');
    return list;
  }, new BlockList());
  return trustedProxies.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');
}

/** An IPv6 subscriber has a whole /64, so it counts as one client; what is no address stands for itself. */
function clientOf(identifier: string): string {
  if (isIPv4(identifier)) return identifier;
  if (identifier.length > LONGEST_ADDRESS) return hash(identifier); // it is kept in memory, and anybody may have sent it
  const address = addressOf(identifier);
  if (!address) return identifier;
  if (!address.includes(':')) return address;
  const [head = [], tail = []] = address.split('::').map((side) => side.split(':'));
  const zeros = address.includes('::') ? Array<string>(8 - head.length - tail.length).fill('0') : [];
  return `${[...head, ...zeros, ...tail].slice(0, 4).join(':')}::/64`;
}

/** 128 bits of a pseudonym: no address or name is in Redis, though who reads it can still try all of IPv4. */
function hash(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

// --- The decision -------------------------------------------------------------------------------------------

async function check(limit: Limit, identifier: string): Promise<RateLimitResult> {
  const client = clientOf(identifier);
  const window = windowOf(limit, client);
  const owed = window.owed;
  window.owed = 0; // a check that runs beside this one must not pay it again
  try {
    const limiter = limiterOf(limit);
    // Else each new process would admit a whole limit of its own before it is connected.
    if (shared.connecting) await shared.connecting;
    return answered(limit, window, await limiter.consume(window.key, 1 + owed), 'within_limit');
  } catch (refusal) {
    // Only a RateLimiterRes means "limited"; whatever else is thrown is a fault of Redis or of the way to it.
    if (refusal instanceof RateLimiterRes) return answered(limit, window, refusal, 'limit_reached');
    reportRefusal(refusal);
    return decideLocally(limit, windowOf(limit, client), owed); // the window may have ended while we waited
  }
}

function answered(limit: Limit, window: Window, answer: RateLimiterRes, reason: RateLimitReason): RateLimitResult {
  window.used = answer.consumedPoints;
  window.endsAt = performance.now() + answer.msBeforeNext;
  return result(limit, window.used, answer.msBeforeNext, reason);
}

function result(limit: Limit, used: number, msLeft: number, reason: RateLimitReason): RateLimitResult {
  const allowed = reason !== 'limit_reached' && reason !== 'redis_away_limit_reached';
  const seconds = Math.max(1, Math.ceil(msLeft / 1000));
  return {
    allowed,
    remaining: Math.max(0, limit.points - used),
    retryAfterSeconds: allowed ? 0 : seconds,
    reason,
    limit: limit.points,
    resetAfterSeconds: seconds,
  };
}

// --- While Redis is away ------------------------------------------------------------------------------------
// Not rate-limiter-flexible's insuranceLimiter: that one starts from nothing, reads the host's date, holds one
// timer per client and has no bound. Here an outage goes on from what Redis last said, and what is let in
// during the outage is owed: the client's next check adds it to the counter in Redis.

/** What this process knows of one client. */
interface Window {
  /** Its key in Redis, after the prefix and the limiter's name. */
  readonly key: string;
  used: number;
  /** Let in by this process, and not yet in Redis' counter. */
  owed: number;
  /** On the monotonic clock. */
  endsAt: number;
}

function decideLocally(limit: Limit, window: Window, owed: number): RateLimitResult {
  window.owed += owed;
  const msLeft = window.endsAt - performance.now();
  if (window.used >= limit.points) {
    return result(limit, window.used, msLeft, limit.openWithoutRedis ? 'redis_away_open' : 'redis_away_limit_reached');
  }
  window.used += 1;
  window.owed += 1;
  return result(limit, window.used, msLeft, 'redis_away_within_limit');
}

function windowOf(limit: Limit, client: string): Window {
  const windows = (shared.windows[limit.name] ??= new Map<string, Window>());
  const now = performance.now();
  const known = windows.get(client);
  if (known && known.endsAt > now) return known;
  const [oldest = ''] = windows.size < REMEMBERED_CLIENTS ? [] : windows.keys(); // in the order of insertion
  windows.delete(known ? client : oldest);
  const key = known?.key ?? hash(`${PREFIX}\0${limit.name}\0${client}`);
  const window = { key, used: 0, owed: 0, endsAt: now + limit.windowSeconds * 1000 };
  windows.set(client, window);
  return window;
}

// --- Redis --------------------------------------------------------------------------------------------------

// KEYS: the counters of some clients. ARGV: the window in seconds, the limit, then the points that each takes.
// Answers two numbers for each: points taken in this window, milliseconds until it ends.
// Of a check that Redis refuses to write down (its memory is full) it answers why instead of the first.
// A refusal writes nothing: a flood of them costs no disk, and it stands even when Redis' memory is full.
// A window never lasts longer than its limit says, even after Redis' own clock was set back.
const TAKE = `
local call, seconds, limit, answers = redis.call, tonumber(ARGV[1]), tonumber(ARGV[2]), {}
for i = 1, #KEYS do
  local key, points = KEYS[i], tonumber(ARGV[i + 2])
  local used, left = call('GET', key), seconds * 1000
  local refused
  if not used then
    used = points
    refused = redis.pcall('SET', key, points, 'EX', seconds).err
  else
    local redis_left = call('PTTL', key)
    if tonumber(used) < limit then used = redis.pcall('INCRBY', key, points) else used = used + points end
    refused = type(used) == 'table' and used.err
    if redis_left < 0 or redis_left > left then call('EXPIRE', key, seconds) else left = redis_left end
  end
  answers[2 * i - 1], answers[2 * i] = refused or used, left
end
return answers`;

/**
 * Checks in one command; what waits beyond them goes in the next turn. So Redis works at one batch while this process
 * makes the next: with all in one, each would wait for the other (measured from 2 to 1000 at a time: 12 to 25 are
 * best). Nor does one instance keep the others waiting for long: Redis runs one script at a time.
 */
const LONGEST_BATCH = 16;

type Client = Redis & { takePoints(...words: (string | number)[]): Promise<(number | string)[]> };

interface Check {
  key: string;
  points: string;
  resolve(answer: [used: number, msLeft: number]): void;
  reject(fault: unknown): void;
}

/**
 * What one RateLimiterRedis takes for its client. It asks a client for two things, `status` and `rlflxIncr`; this
 * one sends the checks of one turn of the event loop as one command, which is where the time of a check goes.
 */
class BatchingClient {
  private waiting: Check[] = [];

  constructor(
    private readonly redis: Client,
    private readonly limit: Limit,
  ) {
    redis.defineCommand('takePoints', { lua: TAKE });
  }

  get status(): string {
    return this.redis.status;
  }

  rlflxIncr([key = '', points = '']: string[]): Promise<[number, number]> {
    return new Promise((resolve, reject) => {
      if (this.waiting.length === 0) setImmediate(() => this.send());
      this.waiting.push({ key, points, resolve, reject });
    });
  }

  private send(): void {
    void this.take(this.waiting.splice(0, LONGEST_BATCH));
    if (this.waiting.length > 0) setImmediate(() => this.send());
  }

  private async take(checks: Check[]): Promise<void> {
    const { windowSeconds, points: limit } = this.limit;
    const keys = checks.map(({ key }) => key);
    const points = checks.map((check) => check.points);
    const stopWatching = this.watch();
    try {
      const answers = await this.redis.takePoints(keys.length, ...keys, windowSeconds, limit, ...points);
      checks.forEach(({ resolve, reject }, i) => {
        const used = answers[2 * i];
        if (typeof used === 'string') reject(new Error(used));
        else resolve([used!, answers[2 * i + 1] as number]);
      });
    } catch (fault) {
      checks.forEach(({ reject }) => reject(fault));
    } finally {
      stopWatching();
    }
  }

  /**
   * Cut the connection when Redis stays silent: that rejects all that waits and makes `status` say so.
   *
   * Not ioredis' commandTimeout, which leaves the connection 'ready' for the next request to wait on. And a
   * timer alone would take our own process' stall for Redis' silence: setImmediate comes after the sockets
   * have been read.
   */
  private watch(): () => void {
    let isAnswered = false;
    const timer = setTimeout(() => {
      setImmediate(() => {
        if (!isAnswered) this.redis.stream.destroy(new Error(`no answer in ${SILENCE_MS} ms`));
      });
    }, SILENCE_MS);
    return () => {
      isAnswered = true;
      clearTimeout(timer);
    };
  }
}

const limiters = new Map<Limit, RateLimiterRedis>();

function limiterOf(limit: Limit): RateLimiterRedis {
  let limiter = limiters.get(limit);
  if (!limiter) {
    // No inMemoryBlockOnConsumed: it ends by the host's date, and outlives a counter that an operator deletes.
    limiter = new RateLimiterRedis({
      storeClient: new BatchingClient((shared.redis ??= connect()), limit),
      keyPrefix: `${PREFIX}:${limit.name}`,
      points: limit.points,
      duration: limit.windowSeconds,
      rejectIfRedisNotReady: true,
    });
    limiters.set(limit, limiter);
  }
  return limiter;
}

/** Called at the first check, never at import: Next.js imports routes while it builds, where there is no Redis. */
function connect(): Client {
  const url = process.env.REDIS_URL;
  if (!url) throw new Error('REDIS_URL is not set');
  const redis = new Redis(url, {
    enableOfflineQueue: false, // no check waits in it: see `connecting` for those before the first connection
    maxRetriesPerRequest: 0, // nor for a second one: what was on its way when the connection broke is rejected
    autoResendUnfulfilledCommands: false, // and is not counted later
    connectTimeout: 1000,
    commandTimeout: 1000, // for AUTH and INFO, which no check watches
    disableClientInfo: true, // the app's Redis user may not CLIENT SETINFO, nor needs to
    retryStrategy: (attempt) => Math.min(100 * 2 ** attempt, 1000) * (0.5 + Math.random() / 2),
  });
  report(redis);
  shared.connecting = firstAnswer(redis).then(() => {
    shared.connecting = undefined;
  });
  return redis as Client;
}

/** Over when Redis is there, or known to be away: at the latest when it has been silent for too long. */
function firstAnswer(redis: Redis): Promise<unknown> {
  return new Promise((resolve) => {
    // In steps: while our own process is busy, as at its start, all of one timer would pass before an answer is read.
    let steps = 5;
    const step = () => (steps-- > 0 ? setTimeout(step, SILENCE_MS / 5) : resolve('silent'));
    step();
    for (const event of ['ready', 'close']) redis.once(event, resolve);
  });
}

/** One line when the connection is there, one when it is lost; nothing for each attempt in between. */
function report(redis: Redis): void {
  let state: 'connected' | 'lost' | undefined;
  let fault = '';
  redis.on('error', (error: NodeJS.ErrnoException) => {
    fault = error.message || error.code || error.name;
  });
  redis.on('ready', () => {
    state = 'connected';
    fault = '';
    console.log('[RATE_LIMITER] ✅ Connecté à Redis');
  });
  redis.on('close', () => {
    if (state === 'lost') return;
    state = 'lost';
    console.warn(`[RATE_LIMITER] ⚠️ Redis injoignable${fault && ` (${fault})`} : limites locales en attendant`);
  });
}

/** Redis is there but says no (memory full, rights, REDIS_URL missing): say so, at most once a minute. */
function reportRefusal(fault: unknown): void {
  const isAway = shared.redis !== undefined && shared.redis.status !== 'ready';
  if (isAway || performance.now() < shared.silentUntil) return;
  shared.silentUntil = performance.now() + 60_000;
  const message = fault instanceof Error ? fault.message : String(fault);
  console.warn(`[RATE_LIMITER] ⚠️ Redis ne compte pas (${message}) : limites locales en attendant`);
}

// Next.js loads this module once for each bundle, and again on each hot reload: what must exist once per
// process lives on globalThis.
interface Shared {
  redis?: Client;
  /** While this process' first connection is being made. */
  connecting?: Promise<void>;
  windows: Record<string, Map<string, Window>>;
  silentUntil: number;
}

const SHARED = Symbol.for(`${PREFIX}.rate-limiter`);
const store = globalThis as typeof globalThis & { [SHARED]?: Shared };
const shared: Shared = (store[SHARED] ??= { windows: {}, silentUntil: 0 });
