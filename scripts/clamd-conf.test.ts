import { describe, expect, it } from 'vitest';
import { clamdConf } from './clamd-conf.ts';

const site = { port: 3310, databaseDirectory: '/data/signatures', temporaryDirectory: '/data/tmp', user: 'someone' };

describe('clamdConf', () => {
  it('puts the lines of the site in front of the body, because the first of two wins', () => {
    const lines = clamdConf({ ...site, overrides: { MaxThreads: '2' } }, 'MaxThreads 10\n').split('\n');
    expect(lines.indexOf('MaxThreads 2')).toBeGreaterThan(-1);
    expect(lines.indexOf('MaxThreads 2')).toBeLessThan(lines.indexOf('MaxThreads 10'));
    expect(lines).toEqual(
      expect.arrayContaining(['TCPSocket 3310', 'DatabaseDirectory /data/signatures', 'TemporaryDirectory /data/tmp', 'User someone']),
    );
  });

  it('listens on loopback unless told otherwise', () => {
    expect(clamdConf(site, '')).toContain('\nTCPAddr 127.0.0.1\n');
    expect(clamdConf({ ...site, address: '10.0.0.5' }, '')).toContain('\nTCPAddr 10.0.0.5\n');
  });

  it('logs to a file only where one is named', () => {
    expect(clamdConf(site, '')).not.toContain('LogFile ');
    expect(clamdConf({ ...site, logFile: '/var/log/clamd.log' }, '')).toContain('\nLogFile /var/log/clamd.log\n');
  });

  it('lets no value begin a line of its own', () => {
    expect(() => clamdConf({ ...site, user: 'a\nTCPAddr 0.0.0.0' }, '')).toThrow('not a clamd directive');
    expect(() => clamdConf({ ...site, overrides: { 'Max Threads': '1' } }, '')).toThrow('not a clamd directive');
  });
});
