// The certified oidc-provider on a free port of 127.0.0.1, with the clients and users of the tests; the first line of
// its output is its address.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const { CLIENT_ID, CLIENT_SECRET, REDIRECT_URI } = process.env;
const RESOURCES = { 'urn:storage-api': 'jwt', 'urn:elsewhere': 'jwt', 'urn:storage-api:opaque': 'opaque' };
const GROUPS = { adam: ['it db, admins'], uma: ['uber'], robot: ['it db, admins'] };

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
      redirect_uris: [REDIRECT_URI],
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    },
    {
      client_id: 'robot',
      client_secret: 'the secret of the robot',
      redirect_uris: [],
      response_types: [],
      grant_types: ['client_credentials'],
    },
  ],
  cookies: { keys: ['a key for tests'] },
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email'] },
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: '',
        audience: resource.replace(':opaque', ''),
        accessTokenFormat: RESOURCES[resource],
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  extraTokenClaims: (_ctx, token) => ({ groups: GROUPS[token.accountId ?? token.clientId] ?? [] }),
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: GROUPS[id] ?? [] }),
  }),
});
server.on('request', provider.callback());
console.log(issuer);
