import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigError, loadConfig, variableTable } from './config.ts';

const dir = mkdtempSync(join(tmpdir(), 'pocketwarden-config-'));
afterAll(() => rmSync(dir, { recursive: true }));

const needed = {
  POCKETBASE_URL: 'http://127.0.0.1:8090',
  POCKETBASE_SUPERUSER_EMAIL: 'scanner@example.com',
  POCKETBASE_SUPERUSER_PASSWORD: 'a password',
};

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(env);
    return [];
  } catch (thrown) {
    if (thrown instanceof ConfigError) return thrown.problems;
    throw thrown;
  }
}

function fileOf(content: string): string {
  const path = join(dir, `${Math.random()}`);
  writeFileSync(path, content);
  return path;
}

describe('loadConfig', () => {
  it('has a default for all that is not required', () => {
    expect(loadConfig(needed)).toEqual({
      roles: ['scanner'],
      pocketbase: { url: 'http://127.0.0.1:8090', superuser: { email: 'scanner@example.com', password: 'a password' }, agent: null },
      scanner: {
        engines: {
          addresses: ['127.0.0.1:3310'],
          stallSeconds: 30,
          timeoutSeconds: 330,
          maxSignatureAgeHours: 168,
          allowTestSignatures: false,
        },
        concurrency: 4,
        maxRetries: 3,
        leaseSeconds: 60,
        pollSeconds: 5,
        notifySecret: null,
      },
      access: {
        operatorToken: null,
        sessionSecret: null,
        idleMs: 3_600_000,
        maxMs: 43_200_000,
        forwardAuth: { addresses: [], secret: null },
        trustedProxies: [],
        publicUrl: null,
      },
      console: null,
      trivyDb: null,
      http: { host: '127.0.0.1', port: 8080, metricsToken: null },
      logLevel: 'info',
    });
  });

  it('treats an empty variable as unset', () => {
    const empty = Object.fromEntries(variableTable.filter((each) => !(each.name in needed)).map((each) => [each.name, '']));
    expect(loadConfig({ ...needed, ...empty })).toEqual(loadConfig(needed));
    expect(problemsOf({ ...needed, POCKETBASE_URL: '' })).toEqual([
      'POCKETBASE_URL is not set. Example: POCKETBASE_URL=http://127.0.0.1:8090',
    ]);
  });

  it('names every problem at once, with the variable and an example', () => {
    const problems = problemsOf({
      POCKETBASE_URL: 'ftp://files',
      ROLES: 'scanner,fleet,painter',
      CLAMD_ADDRESSES: '127.0.0.1:3310,:1',
      SCAN_CONCURRENCY: 'four',
      POLL_SECONDS: '0',
      LEASE_SECONDS: '1e9',
      ALLOW_TEST_SIGNATURES: 'maybe',
      AV_NOTIFY_SECRET: 'short',
      LOG_LEVEL: 'loud',
    });
    const named = problems.map((problem) => problem.split(' ')[0]);
    expect(named).toEqual([
      'ROLES',
      'POCKETBASE_URL',
      'POCKETBASE_SUPERUSER_EMAIL',
      'POCKETBASE_SUPERUSER_PASSWORD',
      'CLAMD_ADDRESSES',
      'ALLOW_TEST_SIGNATURES',
      'SCAN_CONCURRENCY',
      'LEASE_SECONDS',
      'POLL_SECONDS',
      'AV_NOTIFY_SECRET',
      'LOG_LEVEL',
    ]);
    for (const problem of problems) expect(problem).toMatch(/ Example: [A-Z_]+=\S+$/);
    expect(problems[0]).toContain('the role fleet is not part of this version; there is no role "painter"');
    expect(problems[6]).toContain('(it is "four")');
  });

  it('takes an agent in place of the superuser for a scanner, and both halves of a login or none', () => {
    const { POCKETBASE_URL } = needed;
    const agent = { POCKETBASE_AGENT_EMAIL: 'agent@example.com', POCKETBASE_AGENT_PASSWORD: 'of the agent' };
    const login = { email: 'agent@example.com', password: 'of the agent' };
    expect(loadConfig({ POCKETBASE_URL, ...agent }).pocketbase).toEqual({ url: POCKETBASE_URL, superuser: null, agent: login });
    expect(problemsOf({ POCKETBASE_URL, POCKETBASE_AGENT_EMAIL: 'agent@example.com' }).join()).toMatch(
      /^POCKETBASE_AGENT_PASSWORD is not set, and POCKETBASE_AGENT_EMAIL needs it/,
    );
    const consoleAlone = problemsOf({ POCKETBASE_URL, ...agent, ROLES: 'scanner,console', CONSOLE_DATA_DIR: dir });
    expect(consoleAlone.map((problem) => problem.split(',')[0])).toEqual([
      'POCKETBASE_SUPERUSER_EMAIL is not set',
      'POCKETBASE_SUPERUSER_PASSWORD is not set',
    ]);
  });

  it('reads secrets from files, without the line break at their end', () => {
    const config = loadConfig({
      ...needed,
      POCKETBASE_SUPERUSER_PASSWORD: '',
      POCKETBASE_SUPERUSER_PASSWORD_FILE: fileOf('from a file \n'),
      AV_NOTIFY_SECRET_FILE: fileOf('0123456789abcdef'),
    });
    expect(config.pocketbase?.superuser?.password).toBe('from a file ');
    expect(config.scanner?.notifySecret).toBe('0123456789abcdef');
  });

  it('says what is wrong with the file of a secret', () => {
    const missing = join(dir, 'missing');
    const empty = fileOf('\n');
    expect(problemsOf({ ...needed, METRICS_TOKEN_FILE: missing })[0]).toMatch(
      /^METRICS_TOKEN_FILE names .*missing, which cannot be read: ENOENT/,
    );
    expect(problemsOf({ ...needed, METRICS_TOKEN_FILE: empty })).toEqual([`METRICS_TOKEN_FILE names ${empty}, which is empty.`]);
    expect(problemsOf({ ...needed, POCKETBASE_SUPERUSER_PASSWORD_FILE: empty })[0]).toContain('are both set');
  });

  it('never shows a secret', () => {
    expect(problemsOf({ ...needed, AV_NOTIFY_SECRET: 'too short' }).join()).not.toContain('too short');
    const webhooks = { ...needed, ROLES: 'console', RESULT_WEBHOOK_URLS: 'hooks.example.com/services/T0/hidden' };
    expect(problemsOf(webhooks)[0]).toMatch(/^RESULT_WEBHOOK_URLS must be http or https URLs, separated by commas\. Example/);
    for (const url of ['https://git:hidden@git.internal/x', 'https://git:hid,den@git.internal/x#main', 'git:hidden@git.internal:x'])
      expect(problemsOf({ ROLES: 'trivy-db', TRIVY_DB_GIT_SOURCES: `list=${url}` }).join()).toMatch(/^TRIVY_DB_GIT_SOURCES must be [^@]*$/);
    expect(problemsOf({ ...needed, POCKETBASE_URL: 'ftp://me:hidden@files' }).join()).not.toContain('hidden');
  });

  it('understands addresses with and without a port', () => {
    const { scanner } = loadConfig({ ...needed, CLAMD_ADDRESSES: 'clamd, [::1]:3311,10.0.0.7:3312' });
    expect(scanner?.engines.addresses).toEqual(['clamd:3310', '[::1]:3311', '10.0.0.7:3312']);
  });

  it('asks for nothing that no role of the process reads', () => {
    const config = loadConfig({ ROLES: 'trivy-db', CLAMD_ADDRESSES: ':not an address' });
    expect(config).toMatchObject({ pocketbase: null, scanner: null, console: null, access: { operatorToken: null } });
    expect(config.trivyDb).toMatchObject({
      lockFile: 'trivy-db/output/build.lock',
      updateIntervalMs: 24 * 3_600_000,
      canary: { release: '3.19', packageName: 'openssl', version: '3.1.4-r0', cve: 'CVE-2023-5678' },
    });
  });

  it('reads what the Trivy DB is built from', () => {
    const { trivyDb } = loadConfig({
      ROLES: 'trivy-db',
      TRIVY_DB_SOURCES: 'nvd, alpine',
      TRIVY_DB_UPDATE_INTERVAL: '90m',
      TRIVY_DB_FETCH: 'command',
      TRIVY_DB_FETCH_COMMAND: '/usr/bin/fetch  --all',
      TRIVY_DB_GIT_SOURCES: 'vuln-list=https://git.internal/vuln-list#main,vuln-list-nvd=file:///srv/nvd#main',
      TRIVY_DB_LOCK_FILE: '/tmp/build-db-vm.lock',
    });
    expect(trivyDb).toMatchObject({
      sources: ['nvd', 'alpine'],
      updateIntervalMs: 5_400_000,
      fetch: {
        command: ['/usr/bin/fetch', '--all'],
        git: [
          { folder: 'vuln-list', url: 'https://git.internal/vuln-list', branch: 'main' },
          { folder: 'vuln-list-nvd', url: 'file:///srv/nvd', branch: 'main' },
        ],
      },
      lockFile: '/tmp/build-db-vm.lock',
    });
  });

  it('names what a variable needs beside it', () => {
    const problems = problemsOf({
      ...needed,
      ROLES: 'console,trivy-db',
      FORWARD_AUTH_ADDRESSES: '10.0.0.2,172.18.0.0/16',
      RESULT_WEBHOOK_URLS: 'https://ci.example.com/hook',
      TRIVY_DB_URL: 'http://trivy-db:8080',
      TRIVY_DB_FETCH: 'command',
      TRIVY_DB_REGISTRY_USERNAME: 'trivy',
      TRIVY_DB_SCHEDULE: 'every night',
      TRIVY_DB_GIT_SOURCES: '../outside=https://git.internal/x#main',
    });
    expect(problems.map((problem) => problem.split(' ')[0])).toEqual([
      'TRIVY_DB_GIT_SOURCES',
      'TRIVY_DB_SCHEDULE',
      'FORWARD_AUTH_SECRET',
      'RESULT_WEBHOOK_SECRET',
      'OPERATOR_TOKEN',
      'TRIVY_DB_FETCH_COMMAND',
      'TRIVY_DB_REGISTRY_PASSWORD',
    ]);
  });
});
