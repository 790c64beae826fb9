// A certified OpenID provider for the tests: one client, some people, a store that outlives it.
//
//   node op.mjs '{"port": 0, "issuer": null, "store": "/tmp/x/store.json", "jwks": {"keys": [...]},
//                 "client": {"client_id": ...}, "people": {"alice": {"email": ...}}, "lean": false}'
//
// With port 0 the kernel gives one; without an issuer the address is its name. `lean` keeps all
// claims but sub out of the ID token, as the standard has it: they are in userinfo. What happens is
// written to standard output, one JSON object a line, the first when it listens. On SIGTERM it
// keeps what it knows in the store, so that the next one goes on.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import Provider from 'oidc-provider';

const { port, issuer, store, jwks, client, people, lean } = JSON.parse(process.argv[2]);
const kept = new Map(existsSync(store) ? JSON.parse(readFileSync(store)) : []);

class Adapter {
  constructor(kind) { this.kind = kind; }
  key(id) { return `${this.kind} ${id}`; }
  async upsert(id, payload) { kept.set(this.key(id), payload); }
  async find(id) { return kept.get(this.key(id)); }
  async findByUid(uid) {
    return [...kept].find(([key, value]) => key.startsWith(`${this.kind} `) && value.uid === uid)?.[1];
  }
  async findByUserCode() { return undefined; }
  async consume(id) { kept.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { kept.delete(this.key(id)); }
  async revokeByGrantId(grant) {
    for (const [key, value] of kept) if (value.grantId === grant) kept.delete(key);
  }
}

const told = [
  'authorization.success', 'authorization.error', 'grant.success', 'grant.error', 'grant.revoked',
  'refresh_token.consumed', 'refresh_token.destroyed', 'refresh_token.saved', 'revocation.error',
  'end_session.success', 'end_session.error', 'userinfo.error', 'server_error',
];
const say = (event, more) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);

const server = http.createServer();
server.listen(port, '127.0.0.1', () => {
  const name = issuer ?? `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(name, {
    adapter: Adapter,
    clients: [client],
    jwks,
    cookies: { keys: ['of no worth: a test'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'groups'] },
    conformIdTokenClaims: lean,
    findAccount: (_, id) => people[id] && {
      accountId: id,
      claims: () => ({ sub: id, ...people[id] }),
    },
    // Every one is used once, and its second use ends the grant: the strictest of choices.
    rotateRefreshToken: true,
    pkce: { required: () => true },
    features: { revocation: { enabled: true } },
  });
  for (const event of told) {
    provider.on(event, (...given) => {
      const error = given.find((one) => one instanceof Error);
      say(event, error && { error: error.message, detail: error.error_detail });
    });
  }
  server.on('request', provider.callback());
  say('listening', { issuer: name, port: server.address().port });
});

process.on('SIGTERM', () => {
  writeFileSync(store, JSON.stringify([...kept]));
  process.exit(0);
});
