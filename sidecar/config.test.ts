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
      pocketbase: { url: 'http://127.0.0.1:8090', email: 'scanner@example.com', password: 'a password' },
      engines: {
        addresses: ['127.0.0.1:3310'],
        stallSeconds: 30,
        timeoutSeconds: 330,
        maxSignatureAgeHours: 168,
        allowTestSignatures: false,
      },
      worker: { concurrency: 4, maxRetries: 3, leaseSeconds: 60, pollSeconds: 5 },
      http: { host: '127.0.0.1', port: 8080, notifySecret: null, metricsToken: null },
      logLevel: 'info',
    });
  });

  it('treats an empty variable as unset', () => {
    const empty = Object.fromEntries(variableTable.filter((each) => !each.required).map((each) => [each.name, '']));
    expect(loadConfig({ ...needed, ...empty })).toEqual(loadConfig(needed));
    expect(problemsOf({ ...needed, POCKETBASE_URL: '' })).toEqual([
      'POCKETBASE_URL is not set. Example: POCKETBASE_URL=http://127.0.0.1:8090',
    ]);
  });

  it('names every problem at once, with the variable and an example', () => {
    const problems = problemsOf({
      POCKETBASE_URL: 'ftp://files',
      ROLES: 'scanner,console,painter',
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
    expect(problems[0]).toContain('the role console is not part of this version; there is no role "painter"');
    expect(problems[6]).toContain('(it is "four")');
  });

  it('reads secrets from files, without the line break at their end', () => {
    const config = loadConfig({
      ...needed,
      POCKETBASE_SUPERUSER_PASSWORD: '',
      POCKETBASE_SUPERUSER_PASSWORD_FILE: fileOf('from a file \n'),
      AV_NOTIFY_SECRET_FILE: fileOf('0123456789abcdef'),
    });
    expect(config.pocketbase.password).toBe('from a file ');
    expect(config.http.notifySecret).toBe('0123456789abcdef');
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
  });

  it('understands addresses with and without a port', () => {
    const { addresses } = loadConfig({ ...needed, CLAMD_ADDRESSES: 'clamd, [::1]:3311,10.0.0.7:3312' }).engines;
    expect(addresses).toEqual(['clamd:3310', '[::1]:3311', '10.0.0.7:3312']);
  });
});
