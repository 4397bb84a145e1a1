import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { fateOf, isAliveHere, ownIdentity, type ProcessIdentity, processStat, startByPs } from './process-identity.ts';

const us: ProcessIdentity = { ...(await ownIdentity()), boot: 'this boot', machine: 'this machine', host: 'here', pidNamespace: 'pid:[7]' };
const earlier = { ...us, boot: 'an earlier boot' };

describe('the fate of a process', () => {
  it.each<[string, ProcessIdentity, boolean, string]>([
    ['runs here', us, false, 'alive'],
    ['had our number before us', { ...us, startedAt: '1' }, false, 'dead'],
    ['is in another container', { ...us, pidNamespace: 'pid:[8]' }, true, 'elsewhere'],
    ['is in another container with our host name', { ...us, pidNamespace: 'pid:[8]', startedAt: '1' }, true, 'elsewhere'],
    ['ran before the reboot, on a local disk', { ...earlier, host: 'other', machine: null }, true, 'dead'],
    ['ran before the reboot of this machine', earlier, false, 'dead'],
    ['ran on another machine of our name', { ...earlier, machine: 'other' }, false, 'unknown'],
    ['ran on a machine that has no id, like ours', { ...earlier, machine: null }, false, 'unknown'],
    ['ran on another machine that was cloned from ours', { ...earlier, host: 'other' }, false, 'unknown'],
    ['ran where a boot has no number', { ...us, boot: null }, true, 'unknown'],
  ])('that %s', async (_what, who, isLocal, fate) => {
    expect(await fateOf(who, isLocal, us)).toBe(fate);
  });

  it('is told by host name where no boot has a number', async () => {
    const here = { ...us, boot: null, pidNamespace: null };
    expect(await fateOf(here, false, here)).toBe('alive');
    expect(await fateOf({ ...here, startedAt: '1' }, false, here)).toBe('dead');
    expect(await fateOf({ ...here, host: 'other' }, false, here)).toBe('unknown');
  });

  it('without machine-id on either side is not told by that', async () => {
    expect(await fateOf({ ...earlier, machine: null }, false, { ...us, machine: null })).toBe('unknown');
  });
});

describe('a process', () => {
  it('that nobody has waited for after it was killed is dead', async () => {
    // The shell becomes a program that never waits for the child that it inherits.
    const parent = spawn('/bin/sh', ['-c', 'sleep 1000 & echo $!; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(parent.stdout, 'data')) as [Buffer];
      const child = Number(line.toString());
      expect(await isAliveHere(child, null)).toBe(true);
      await eventually('the shell has become sleep', async () => (await processStat(parent.pid!)) !== null);
      process.kill(child, 'SIGKILL');
      await eventually('it is a zombie', async () => (await processStat(child))?.isZombie);
      expect(await isAliveHere(child, null)).toBe(false);
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('of another user, which may not be signalled, lives', async () => {
    const module = JSON.stringify(new URL('process-identity.ts', import.meta.url).href);
    const source = `const { isAliveHere } = await import(${module}); console.log(await isAliveHere(${process.pid}, null))`;
    // Only root can become somebody else; for others it is process 1 that is not theirs.
    const isRoot = process.getuid?.() === 0;
    const asker = spawn(
      process.execPath,
      ['--input-type=module', '-e', isRoot ? source : source.replace(`${process.pid}, null`, '1, null')],
      {
        ...(isRoot && { uid: 65533, gid: 65533 }),
        cwd: '/',
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const [answer] = (await once(asker.stdout, 'data')) as [Buffer];
    expect(answer.toString()).toBe('true\n');
  });

  it('with brackets and spaces in its name is read right', async () => {
    const child = spawn('/bin/bash', ['-c', 'printf "a) Z 1 (b" > /proc/self/comm; echo; read -r'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    expect(await processStat(child.pid!)).toMatchObject({ isZombie: false, startedAt: expect.stringMatching(/^\d+$/) });
    child.stdin.end('\n');
    await once(child, 'exit');
    expect(await processStat(child.pid!)).toBeNull();
  });

  it('has a date of birth where there is no /proc', async () => {
    const born = await startByPs(process.pid);
    expect(Math.abs(Date.parse(`${born} UTC`) - (Date.now() - process.uptime() * 1000))).toBeLessThan(60_000);
    expect(await startByPs(4_194_304)).toBeNull();
  });
});
