// Rate limits that every instance of the app shares, in Redis. Managed by the deploy, the same for every app: the
// limits stand beside it in rate-limits.ts, made from the settings. It needs the npm package ioredis, 5 or 6, and
// Next.js' Node runtime (the default). What it relies on:
// - A window begins with its first request and ends on Redis' clock; no decision reads this host's date.
// - A request is counted in one function of Redis, so no two instances can both take the last place.
// - ioredis' `status` is 'ready' only after AUTH and INFO were answered. While it is anything else, or Redis does not
//   count, this process decides by itself, at once; ioredis reconnects in the background.
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { BlockList, isIP, isIPv4 } from 'node:net';
import { Redis } from 'ioredis';
import { type LimiterName, rateLimits } from './rate-limits';

export * from './rate-limits';

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

/** The headers of a response: draft-ietf-httpapi-ratelimit-headers-06; on a refusal Retry-After (RFC 9110). */
export function rateLimitHeaders(result: RateLimitResult): Record<string, string> {
  return {
    'RateLimit-Limit': String(result.limit),
    'RateLimit-Remaining': String(result.remaining),
    'RateLimit-Reset': String(result.resetAfterSeconds),
    ...(result.allowed ? {} : { 'Retry-After': String(result.retryAfterSeconds) }),
  };
}

export type DecisionListener = (limiter: LimiterName, result: RateLimitResult) => void;

/** Have every decision told, for metrics; what the listener throws is ignored. */
export function onDecision(listener: DecisionListener | undefined): void {
  shared().listener = listener;
}

// --- Who is asking ---

/** A NextRequest, a Request, or anything with their headers; `ip` where the platform gives the peer's address. */
export interface RequestLike {
  headers: { get(name: string): string | null };
  ip?: string | null;
}

/**
 * The client's address, or 'unknown'. Each proxy adds, on the right, the address that it was spoken to from: so the
 * header is read from the right, past the trusted proxies, up to the first address that is not one of them; what
 * stands further left is only what the client says. Next.js gives no socket address: the right-most entry is
 * believed, so the app must be reachable through its proxy alone.
 */
export function getClientIP(request: RequestLike): string {
  const hops = hopsOf(request.headers.get(rateLimits.clientIpHeader) ?? '');
  if (request.ip) hops.push(request.ip);
  let client = 'unknown';
  while (hops.length > 0) {
    const address = addressOf(hops.pop() ?? '');
    if (!address) break; // not an address: the last hop that was one is all we know
    client = address;
    if (!isIn(proxies(), address)) break;
  }
  if (isIn(privateNetworks(), client) && hops.some(addressOf)) {
    warn('proxy', `${client} compte comme client, un proxy ? Voir app_trusted_proxies`, Infinity);
  }
  return client;
}

/**
 * The hops of X-Forwarded-For, or the `for` of each of Forwarded (RFC 7239), from the client to us. A quote that the
 * client left open must not take in what the proxies wrote to its right: of an odd number the first one is left out.
 */
function hopsOf(header: string): string[] {
  if (rateLimits.clientIpHeader !== 'forwarded') return header.split(',');
  const closed = header.split('"').length % 2 ? header : header.slice(header.indexOf('"') + 1);
  const elements = closed.match(/(?:"[^"]*"|[^",])+/g) ?? [];
  return elements.map((element) => /(?:^|;)\s*for="?([^";\s]*)/i.exec(element)?.[1] ?? '');
}

/** The address in 192.0.2.1:80, [2001:db8::1]:80 or ::ffff:192.0.2.1, written in the one usual way, or ''. */
function addressOf(text: string): string {
  if (text.length > 80) return ''; // longer than any with its port and zone: not worth the search
  const bare = text.trim().replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1').replace(/%[^]*$/, '');
  if (isIP(bare) !== 6) return isIPv4(bare) ? bare : '';
  const canonical = new URL(`http://[${bare}]`).hostname.slice(1, -1); // lower case, no zeros, no IPv4 tail
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(canonical)?.slice(1).map((group) => parseInt(group, 16));
  return mapped ? mapped.flatMap((group) => [group >> 8, group & 255]).join('.') : canonical;
}

const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '127.0.0.0/8', 'fc00::/7', '::1/128'];
const privateNetworks = once(() => networks(PRIVATE));
const proxies = once(() => networks(rateLimits.trustedProxies));

function networks(all: readonly string[]): BlockList {
  const list = new BlockList();
  for (const [base = '', bits] of all.map((each) => each.split('/'))) {
    list.addSubnet(base, Number(bits), isIPv4(base) ? 'ipv4' : 'ipv6');
  }
  return list;
}

function isIn(list: BlockList, address: string): boolean {
  return isIP(address) > 0 && list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');
}

/** An IPv6 subscriber has a whole /64, so it counts as one client; what is no address stands for itself. */
function clientOf(given: unknown, { ignoreCase }: Limit): string {
  // Out of a request's body it may be anything: all that is no text or number is one client, and no reason to fail.
  const identifier = typeof given === 'object' || typeof given === 'function' ? typeof given : String(given);
  if (isIPv4(identifier)) return identifier;
  if (identifier.length > 64) return hash(folded(identifier, ignoreCase)); // anybody may have sent it, and it is kept
  const address = addressOf(identifier);
  if (!address.includes(':')) return address || folded(identifier, ignoreCase);
  const [head = [], tail = []] = address.split('::').map((side) => side.split(':'));
  const zeros = address.includes('::') ? Array<string>(8 - head.length - tail.length).fill('0') : [];
  return `${[...head, ...zeros, ...tail].slice(0, 4).join(':')}::/64`;
}

function folded(identifier: string, ignoreCase: boolean): string {
  return ignoreCase ? identifier.normalize('NFKC').trim().toLowerCase() : identifier;
}

/** 128 bits of a pseudonym: no address or name is in Redis, though who reads it can still try all of IPv4. */
function hash(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

// --- The decision ---

type Limit = (typeof rateLimits.limits)[LimiterName];

/** What `check<Name>RateLimit` does: counts one request. It never throws, and waits for Redis 0.25 s at most. */
export async function check(name: LimiterName, identifier: string): Promise<RateLimitResult> {
  const result = await decide(name, identifier);
  try {
    shared().listener?.(name, result);
  } catch {
    // a fault of who counts decisions decides nothing
  }
  return result;
}

/** Several limits at once, such as the address' and the account's: who is refused by one takes nothing from another. */
export async function checkRateLimits(identifiers: Partial<Record<LimiterName, string>>): Promise<RateLimitResult> {
  const asked = Object.entries(identifiers) as [LimiterName, string][];
  if (asked.length === 0) throw new TypeError('checkRateLimits: no limit is named, as in { login: address }');
  const results = await Promise.all(asked.map(([name, identifier]) => check(name, identifier)));
  const strictest = results.reduce((a, b) => {
    if (a.allowed !== b.allowed) return a.allowed ? b : a;
    return (a.allowed ? a.remaining <= b.remaining : a.retryAfterSeconds >= b.retryAfterSeconds) ? a : b;
  });
  if (!strictest.allowed) await Promise.all(asked.filter((_, i) => results[i]?.allowed).map((each) => refund(...each)));
  return strictest;
}

/** Give back what an allowed check took, as after a login that was right: a clinic behind one address goes on. */
export async function refund(name: LimiterName, identifier: string, points = 1): Promise<boolean> {
  const window = windowOf(name, clientOf(identifier, rateLimits.limits[name]));
  try {
    [window.used] = await take(name, window.key, -points);
    return true;
  } catch (fault) {
    reportRefusal(fault);
    window.used = Math.max(0, window.used - points);
    window.owed = Math.max(0, window.owed - points);
    return false;
  }
}

/** Forget what this client has used. False when Redis is away: only this process has forgotten then. */
export async function reset(name: LimiterName, identifier: string): Promise<boolean> {
  windowOf(name, clientOf(identifier, rateLimits.limits[name])).owed = 0;
  return refund(name, identifier, Number.MAX_SAFE_INTEGER);
}

async function decide(name: LimiterName, identifier: string): Promise<RateLimitResult> {
  const limit = rateLimits.limits[name];
  const client = clientOf(identifier, limit);
  const window = windowOf(name, client);
  const owed = window.owed;
  window.owed = 0; // a check that runs beside this one must not pay it again
  try {
    const [used, msLeft] = await take(name, window.key, 1 + owed);
    window.used = used;
    window.endsAt = performance.now() + msLeft;
    return result(limit, used, msLeft, used > limit.points ? 'limit_reached' : 'within_limit');
  } catch (fault) {
    reportRefusal(fault);
    return decideLocally(limit, windowOf(name, client), owed); // the window may have ended while we waited
  }
}

function result(limit: Limit, used: number, msLeft: number, reason: RateLimitReason): RateLimitResult {
  const allowed = reason !== 'limit_reached' && reason !== 'redis_away_limit_reached';
  const seconds = Math.max(1, Math.ceil(msLeft / 1000));
  const remaining = Math.max(0, limit.points - used);
  const retryAfterSeconds = allowed ? 0 : seconds;
  return { allowed, remaining, retryAfterSeconds, reason, limit: limit.points, resetAfterSeconds: seconds };
}

// --- While Redis is away: an outage goes on from what Redis last said, and what is let in during the outage is
// owed: the client's next check adds it to the counter in Redis.

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

/** How many clients each limiter remembers for the time when Redis is away (about 200 bytes each). */
const REMEMBERED_CLIENTS = 20_000;

function windowOf(name: LimiterName, client: string): Window {
  const windows = (shared().windows[name] ??= new Map<string, Window>());
  const now = performance.now();
  const known = windows.get(client);
  if (known && known.endsAt > now) return known;
  const [oldest = ''] = windows.size < REMEMBERED_CLIENTS ? [] : windows.keys(); // in the order of insertion
  windows.delete(known ? client : oldest);
  const key = known?.key ?? hash(`${rateLimits.prefix}\0${name}\0${client}`);
  const window = { key, used: 0, owed: 0, endsAt: now + rateLimits.limits[name].windowSeconds * 1000 };
  windows.set(client, window);
  return window;
}

// --- Redis ---

type Answer = [used: number, msLeft: number];
type Client = Redis & { takePoints(...words: (string | number)[]): Promise<(number | string)[]> };

interface Check {
  key: string;
  points: number;
  resolve(answer: Answer): void;
  reject(fault: unknown): void;
}

/**
 * Checks in one command; what waits beyond them goes in the next turn. So Redis works at one batch while this process
 * makes the next: with all in one, each would wait for the other (measured from 2 to 1000 at a time: 12 to 25 are
 * best). Nor does one instance keep the others waiting for long: Redis runs one function at a time.
 */
const LONGEST_BATCH = 16;
const waiting = new Map<LimiterName, Check[]>();
const AWAY = new Error('Redis is away'); // one for all: to make one takes longer than to decide

/** Add to a counter, in one command with the others of this turn of the event loop: there goes most of the time. */
async function take(name: LimiterName, key: string, points: number): Promise<Answer> {
  const state = shared();
  const redis = (state.redis ??= connect());
  // Else each new process would admit a whole limit of its own before it is connected.
  if (state.connecting) await state.connecting;
  if (redis.status !== 'ready') throw AWAY;
  return new Promise((resolve, reject) => {
    const checks = waiting.get(name) ?? [];
    if (checks.length === 0) setImmediate(() => send(redis, name, checks));
    waiting.set(name, checks);
    checks.push({ key: `${rateLimits.prefix}:${name}:${key}`, points, resolve, reject });
  });
}

function send(redis: Client, name: LimiterName, checks: Check[]): void {
  void answer(redis, rateLimits.limits[name], checks.splice(0, LONGEST_BATCH));
  if (checks.length > 0) setImmediate(() => send(redis, name, checks));
}

async function answer(redis: Client, { windowSeconds, points: limit }: Limit, checks: Check[]): Promise<void> {
  const keys = checks.map(({ key }) => key);
  const stopWatching = watch(redis);
  try {
    const answers = await count(redis, keys, [windowSeconds, limit, ...checks.map(({ points }) => points)]);
    checks.forEach(({ resolve, reject }, i) => {
      const used = answers[2 * i];
      if (typeof used === 'number') resolve([used, answers[2 * i + 1] as number]);
      else reject(turnedAway(redis, new Error(used)));
    });
    reportCounted();
  } catch (fault) {
    checks.forEach(({ reject }) => reject(turnedAway(redis, fault)));
  } finally {
    stopWatching();
  }
}

/** By the function that the deploy has loaded; where there is none, or this user may not call it, by a script. */
async function count(redis: Client, keys: string[], words: number[]): Promise<(number | string)[]> {
  const state = shared();
  const byFunction = () => redis.fcall('rate_limit_take', keys.length, ...keys, ...words) as Promise<(number | string)[]>;
  const byScript = () => redis.takePoints(keys.length, ...keys, ...words);
  const [first, second] = performance.now() < state.scriptUntil ? [byScript, byFunction] : [byFunction, byScript];
  try {
    return await first().catch((fault: unknown) => {
      if (!/^(NOPERM|ERR (Function not found|unknown command))/.test(text(fault))) throw fault;
      state.scriptUntil = second === byScript ? performance.now() + 60_000 : 0;
      return second();
    });
  } catch (fault) {
    if (!/^(OOM|READONLY|MISCONF|NOREPLICAS)/.test(text(fault))) throw fault;
    // Redis writes nothing now, and can still tell who is over the limit.
    const seen = (await redis.fcall('rate_limit_look', keys.length, ...keys, ...words).catch(() => [])) as number[];
    return keys.flatMap((_, i) => {
      const used = seen[2 * i] ?? 0;
      return [used >= (words[1] ?? 0) ? used + 1 : text(fault), seen[2 * i + 1] ?? 0];
    });
  }
}

/**
 * Cut the connection when Redis stays silent: that rejects all that waits and makes `status` say so. Not ioredis'
 * commandTimeout, which leaves the connection 'ready' for the next request to wait on. And a timer alone would take
 * our own process' stall for Redis' silence: setImmediate comes after the sockets have been read.
 */
function watch(redis: Client): () => void {
  let isAnswered = false;
  const silent = () => {
    if (!isAnswered) redis.stream.destroy(new Error(`no answer in ${SILENCE_MS} ms`));
  };
  const timer = setTimeout(() => setImmediate(silent), SILENCE_MS);
  return () => {
    isAnswered = true;
    clearTimeout(timer);
  };
}

/** How long Redis may be silent before it counts as frozen; the requests of that moment wait this long. */
const SILENCE_MS = 250;

/**
 * Redis says that it is not the one who counts (a failover, a replica): what is behind the name may be another by now,
 * so connect anew, once a second. Other refusals (MISCONF, BUSY, LOADING, OOM) end by themselves on this connection.
 */
function turnedAway(redis: Client, fault: unknown): unknown {
  const state = shared();
  if (/^(READONLY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN)/.test(text(fault)) && performance.now() > state.staysUntil) {
    state.staysUntil = performance.now() + 1000;
    redis.disconnect(true);
  }
  return fault;
}

/** Called at the first check, never at import: Next.js imports routes while it builds, where there is no Redis. */
function connect(): Client {
  requireIoredis();
  const redis = new Redis(redisUrl(), {
    enableOfflineQueue: false, // no check waits in it: see `connecting` for those before the first connection
    maxRetriesPerRequest: 0, // nor for a second one: what was on its way when the connection broke is rejected
    autoResendUnfulfilledCommands: false, // and is not counted later
    connectTimeout: 1000,
    commandTimeout: 1000, // for AUTH and INFO, which no check watches
    disableClientInfo: true, // the app's Redis user may not CLIENT SETINFO, nor needs to
    retryStrategy: (attempt) => Math.min(100 * 2 ** attempt, 1000) * (0.5 + Math.random() / 2),
    scripts: { takePoints: { lua: rateLimits.script } },
  });
  let fault = '';
  // Not an error's message: of a REDIS_URL that was read wrongly it may quote a part.
  redis.on('error', (error: NodeJS.ErrnoException) => (fault = error.code ?? firstLine(error)));
  redis.on('close', () => reportLost(fault));
  const state = shared();
  state.connecting = firstAnswer(redis).then(() => {
    state.connecting = undefined;
  });
  return redis as Client;
}

/** REDIS_URL without the quotes that some readers of .env leave; never told in an error, it holds the password. */
function redisUrl(): string {
  const url = (process.env['REDIS_URL'] ?? '').trim().replace(/^(["'`])(.*)\1$/, '$2');
  if (!url) throw new Error('REDIS_URL is not set');
  if (!/^rediss?:\/\//i.test(url)) throw new Error('REDIS_URL must begin with redis:// or rediss://');
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || /[@]/.test(parsed.pathname + parsed.search + parsed.hash)) {
    throw new Error('REDIS_URL cannot be read: percent-encode the special characters of its password');
  }
  return url;
}

/** Known from the app's node_modules; a build that has ioredis inside was made with the one that it was tried with. */
function requireIoredis(): void {
  let version = '5';
  try {
    ({ version } = createRequire(`${process.cwd()}/`)('ioredis/package.json') as { version: string });
  } catch {
    return;
  }
  if (!/^[56]\./.test(version)) throw new Error(`ioredis ${version} is installed, and 5 or 6 is needed`);
}

/** Over when Redis is there, or known to be away: at the latest when it has been silent for too long. */
function firstAnswer(redis: Redis): Promise<unknown> {
  return new Promise((resolve) => {
    // In steps: while our own process is busy, as at its start, all of one timer would pass before an answer is read.
    let steps = 5;
    const step = (): unknown => (steps-- > 0 ? setTimeout(step, SILENCE_MS / 5) : resolve('silent'));
    step();
    for (const event of ['ready', 'close']) redis.once(event, resolve);
  });
}

// --- What is said: one line when Redis has counted, one when it is lost, nothing for each attempt in between. ---

function reportCounted(): void {
  const state = shared();
  if (state.counts !== true) console.log('[RATE_LIMITER] ✅ Connecté à Redis');
  state.counts = true;
}

function reportLost(fault: string): void {
  const state = shared();
  if (state.counts !== false) {
    console.warn(`[RATE_LIMITER] ⚠️ Redis injoignable${fault && ` (${fault})`} : limites locales en attendant`);
  }
  state.counts = false;
}

/** Redis is there but says no (memory full, rights), or cannot be asked at all (REDIS_URL, ioredis). */
function reportRefusal(fault: unknown): void {
  const { redis } = shared();
  if (redis && redis.status !== 'ready') return;
  warn('refusal', `Redis ne compte pas (${firstLine(fault)}) : limites locales en attendant`, 60_000);
}

/** At most once in so many milliseconds for each kind. */
function warn(kind: string, sentence: string, everyMs: number): void {
  const { quietUntil } = shared();
  if (performance.now() < (quietUntil[kind] ?? 0)) return;
  quietUntil[kind] = performance.now() + everyMs;
  console.warn(`[RATE_LIMITER] ⚠️ ${sentence}`);
}

function text(fault: unknown): string {
  return fault instanceof Error ? fault.message : String(fault);
}

function firstLine(fault: unknown): string {
  return text(fault).split('\n', 1)[0] ?? '';
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** Next.js loads this module once for each bundle, and again on each hot reload: what must exist once per process. */
interface Shared {
  redis?: Client;
  /** While this process' first connection is being made. */
  connecting?: Promise<void> | undefined;
  /** Whether Redis has counted since it was last there. */
  counts?: boolean;
  windows: Record<string, Map<string, Window>>;
  quietUntil: Record<string, number>;
  scriptUntil: number;
  staysUntil: number;
  listener?: DecisionListener | undefined;
}

const global = globalThis as Record<symbol, unknown>;

function shared(): Shared {
  const key = Symbol.for(`${rateLimits.prefix}.rate-limits`);
  return (global[key] ??= { windows: {}, quietUntil: {}, scriptUntil: 0, staysUntil: 0 }) as Shared;
}
