import { describe, expect, it, onTestFinished } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { isAlive } from '../parts/lock.ts';
import { Part, restartDelay } from './part.ts';

function nodePart(script: string, options: { patienceMs?: number; hidden?: RegExp } = {}): { part: Part; lines: string[] } {
  const lines: string[] = [];
  const part = new Part({
    name: 'thing',
    command: process.execPath,
    args: ['-e', script],
    env: process.env,
    deathSignal: 'KILL',
    patienceMs: options.patienceMs ?? 5_000,
    log: (line) => lines.push(line),
    ...(options.hidden === undefined ? {} : { hidden: options.hidden }),
  });
  onTestFinished(() => part.kill());
  return { part, lines };
}

const forever = 'setInterval(() => {}, 1000); console.log("running");';
const said = (lines: string[], line: string) => async () => void (await eventually(line, () => lines.includes(line)));

describe('a supervised part', () => {
  it('is started again when it dies, with a line that says so', async () => {
    const { part, lines } = nodePart(forever);
    const pids: (number | undefined)[] = [];
    await part.start(said(lines, 'running'), async () => {
      pids.push(part.pid);
    });
    process.kill(part.pid ?? 0, 'SIGKILL');
    await eventually('a second start', () => pids.length === 2 && lines.filter((line) => line === 'running').length === 2);
    expect(pids[0]).not.toBe(pids[1]);
    expect(lines).toContain('thing was ended by SIGKILL; starting it again in 0.5 s');
    await part.stop();
    expect(pids.every((pid) => pid !== undefined && !isAlive(pid))).toBe(true);
  });

  it('is not started again once it was stopped', async () => {
    const { part, lines } = nodePart(forever);
    await part.start(said(lines, 'running'));
    await part.stop();
    expect(isAlive(part.pid ?? 0)).toBe(false);
    expect(lines.join()).not.toContain('again');
  });

  it('is killed when it does not want to stop', async () => {
    const { part, lines } = nodePart(`process.on('SIGTERM', () => {}); ${forever}`, { patienceMs: 200 });
    await part.start(said(lines, 'running'));
    await part.stop();
    expect(isAlive(part.pid ?? 0)).toBe(false);
  });

  it('that ends while starting is an error with its last words, hidden lines too', async () => {
    const { part, lines } = nodePart('console.log("noise"); console.error("no such folder"); process.exit(3)', { hidden: /noise/ });
    const failing = part.start(() => new Promise(() => {}));
    await expect(failing).rejects.toThrow(/thing ended with code 3 while starting:\n(.*\n)?.*no such folder/);
    await expect(failing).rejects.toThrow('noise');
    expect(lines).toEqual(['no such folder']);
    await part.stop();
  });

  it('that cannot be started at all is an error', async () => {
    const part = new Part({
      name: 'thing',
      command: '/no/such/program',
      args: [],
      env: {},
      deathSignal: 'TERM',
      patienceMs: 100,
      log: () => {},
    });
    await expect(part.start(() => new Promise(() => {}))).rejects.toThrow(
      /thing (could not be started|ended with code \d+) while starting/,
    );
  });

  it('waits longer after every death, up to half a minute', () => {
    expect([0, 1, 2, 5, 6, 20].map(restartDelay)).toEqual([500, 1_000, 2_000, 16_000, 30_000, 30_000]);
  });
});
