import { expect, it } from 'vitest';
import { loadConfig } from './config.ts';
import { withoutSecrets } from './shown-config.ts';

const env = {
  ROLES: 'scanner,console,trivy-db',
  POCKETBASE_URL: 'http://127.0.0.1:8090',
  POCKETBASE_SUPERUSER_EMAIL: 'scanner@example.com',
  POCKETBASE_SUPERUSER_PASSWORD: 'hidden password',
  AV_NOTIFY_SECRET: 'hidden notify secret',
  OPERATOR_TOKEN: 'hidden operator token',
  SESSION_SECRET: 'hidden session secret, long enough for it',
  METRICS_TOKEN: 'hidden metrics token',
  FORWARD_AUTH_SECRET: 'hidden forward secret',
  RESULT_WEBHOOK_SECRET: 'hidden webhook secret',
  RESULT_WEBHOOK_URLS: 'https://hooks.example.com/services/T0/hidden,https://ci.example.com/?token=hidden',
  TRIVY_DB_REGISTRY_USERNAME: 'trivy',
  TRIVY_DB_REGISTRY_PASSWORD: 'hidden-registry-password',
  TRIVY_DB_FETCH_COMMAND: '/usr/bin/fetch --from=https://me:hidden@git.internal/x',
  TRIVY_DB_GIT_SOURCES:
    'a=https://me:hidden@git.internal/a#main,b=https://hidden@git.internal/b#main,c=ssh://git.internal/c?private_token=hidden#main',
};

it('shows that secrets are set, and none of them', () => {
  const shown = withoutSecrets(loadConfig(env));
  expect(JSON.stringify(shown)).not.toContain('hidden');
  expect(shown).toMatchObject({
    pocketbase: { url: 'http://127.0.0.1:8090', superuser: { email: 'scanner@example.com', password: '(set)' }, agent: null },
    access: { operatorToken: '(set)', sessionSecret: '(set)' },
    console: { webhooks: { urls: ['(set)', '(set)'], secret: '(set)' } },
    trivyDb: {
      fetch: {
        git: [
          { folder: 'a', url: 'https://(set)@git.internal/a', branch: 'main' },
          { folder: 'b', url: 'https://(set)@git.internal/b', branch: 'main' },
          { folder: 'c', url: 'ssh://git.internal/c?(set)', branch: 'main' },
        ],
      },
      registry: { username: 'trivy', password: '(set)' },
    },
  });
});

it('shows that a secret is not set', () => {
  const { RESULT_WEBHOOK_URLS: _, ...others } = env;
  expect(withoutSecrets(loadConfig({ ...others, METRICS_TOKEN: '' }))).toMatchObject({
    console: { webhooks: { urls: [] } },
    http: { metricsToken: null },
  });
});
