// A small app for the tests: POST /login through the limiter, as an app's own route would do it.
// It reads the deployed .env: ENV_FILE (/opt/medaction/.env), and listens on HOST (127.0.0.1) and PORT (3000).

import { checkLoginRateLimit, getClientIP, rateLimitHeaders } from '@/lib/security/rate-limiter-redis';
import { config } from 'dotenv';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

config({ path: process.env['ENV_FILE'] ?? '/opt/medaction/.env', quiet: true });

/** A request as a Next.js route sees it: without X-Forwarded-For, Next.js writes the peer's address there. */
function asInNext(request: IncomingMessage): { headers: Headers } {
  const forwarded = request.headers['x-forwarded-for'] ?? request.socket.remoteAddress ?? '';
  return { headers: new Headers({ 'x-forwarded-for': String(forwarded) }) };
}

async function login(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const result = await checkLoginRateLimit(getClientIP(asInNext(request)));
  response.writeHead(result.allowed ? 200 : 429, { 'Content-Type': 'application/json', ...rateLimitHeaders(result) });
  response.end(JSON.stringify(result));
}

const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/login') {
    void login(request, response);
    return;
  }
  response.writeHead(request.url === '/' ? 200 : 404).end();
});

server.listen(Number(process.env['PORT'] ?? 3000), process.env['HOST'] ?? '127.0.0.1', () => {
  console.log(`listening on ${JSON.stringify(server.address())}`);
});
