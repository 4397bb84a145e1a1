import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BuildLock, type HeldLock } from '../../sidecar/trivy-db/lock.ts';
import { eventually } from '../harness/eventually.ts';

/** Takes orders as lines of JSON and answers each with one. All begin to acquire at the same millisecond. */
const contender = `
import { createInterface } from 'node:readline';
import { rename, rm, writeFile } from 'node:fs/promises';
import { BuildLock } from ${JSON.stringify(new URL('../../sidecar/trivy-db/lock.ts', import.meta.url).href)};
let held = null;
const orders = {
  async acquire({ path, at }) {
    while (Date.now() < at);
    const got = await new BuildLock(path).acquire('a-build');
    if ('kind' in got) return got;
    held = got;
    return { kind: 'won', token: got.token };
  },
  async release() { await held.release(); return {}; },
  async isStillOurs() { return { isOurs: await held.isStillOurs() }; },
  async inspect({ path }) { return new BuildLock(path).inspect(); },
  // Takes the lock again and again; whoever finds another one inside says so. Every third time it leaves a dead one's lock behind.
  async churn({ path, turns, dead }) {
    let wins = 0;
    for (let turn = 0; turn < turns; turn++) {
      const got = await new BuildLock(path).acquire('a-build');
      if ('kind' in got) continue;
      await writeFile(path + '-inside', '', { flag: 'wx' });
      if (!(await got.isStillOurs())) throw new Error('it is not ours');
      await rm(path + '-inside');
      wins++;
      if (wins % 3 === 0) {
        const token = got.token.slice(0, 16) + String(wins).padStart(16, '0');
        await writeFile(path + '.dead', JSON.stringify({ ...dead, token }));
        await rename(path + '.dead', path);
      }
      await got.release();
    }
    return { wins };
  },
};
for await (const line of createInterface(process.stdin)) {
  const order = JSON.parse(line);
  const answer = await orders[order.do](order).catch((thrown) => ({ error: String(thrown) }));
  console.log(JSON.stringify(answer));
}
`;

interface Answer {
  readonly kind?: string;
  readonly token?: string;
  readonly error?: string;
  readonly isOurs?: boolean;
  readonly wins?: number;
}

interface Contender {
  readonly process: ChildProcess;
  ask(order: Record<string, unknown>): Promise<Answer>;
  kill(): Promise<void>;
}

function startContender(): Contender {
  const child = spawn(process.execPath, ['--input-type=module', '-e', contender], { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    process: child,
    async ask(order) {
      child.stdin.write(`${JSON.stringify(order)}\n`);
      return JSON.parse((await answers.next()).value ?? '{"error":"it has ended"}');
    },
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

let folder: string;
let many: Contender[];
/** What a process that was killed left in its lock. */
let dead: Record<string, unknown>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-lock-'));
  many = Array.from({ length: 5 }, startContender);
  dead = await lockOfTheDead(join(folder, 'first'));
});

afterAll(async () => {
  await Promise.all(many.map((each) => each.kill()));
  await rm(folder, { recursive: true });
});

async function lockOfTheDead(path: string): Promise<Record<string, unknown>> {
  const one = startContender();
  expect(await one.ask({ do: 'acquire', path, at: 0 })).toMatchObject({ kind: 'won' });
  await one.kill();
  return JSON.parse(await readFile(path, 'utf8'));
}

const token = (n: number) => n.toString(16).padStart(32, 'a');

const beginnings: Record<string, (path: string, round: number) => Promise<void>> = {
  'no lock': () => Promise.resolve(),
  'the lock of one that was killed': (path, round) => writeFile(path, JSON.stringify({ ...dead, token: token(round) })),
  'a dead process number of the old script': (path) => writeFile(path, `${String(dead['pid'])}\n`),
  'one that died while it followed one that had died': async (path, round) => {
    await writeFile(path, JSON.stringify({ ...dead, token: token(2 * round) }));
    await writeFile(`${path}.after-${token(2 * round)}`, JSON.stringify({ ...dead, token: token(2 * round + 1) }));
  },
};

describe('the lock of the builder', () => {
  it.each(Object.entries(beginnings))(
    'goes to exactly one of five processes in each of 20 rounds that begin with %s',
    async (name, begin) => {
      for (let round = 0; round < 20; round++) {
        const path = join(folder, `${name.replaceAll(' ', '-')}-${round}`);
        await begin(path, round);
        const at = Date.now() + 20;
        const answers = await Promise.all(many.map((each) => each.ask({ do: 'acquire', path, at })));
        const kinds = answers.map(({ kind, error }) => kind ?? error).sort();
        expect(kinds, `round ${round}`).toEqual(['held', 'held', 'held', 'held', 'won']);
        const winner = many[answers.findIndex(({ kind }) => kind === 'won')]!;
        expect(await winner.ask({ do: 'isStillOurs' })).toEqual({ isOurs: true });
        await winner.ask({ do: 'release' });
        expect(await new BuildLock(path).inspect()).toEqual({ kind: 'free' });
      }
      expect((await readdir(folder)).filter((each) => /\.(?:after|[0-9a-f]{32})/.test(each) && !each.startsWith('first'))).toEqual([]);
    },
  );

  it('never lets two in while it is taken, left by the dead and released all the time', async () => {
    const path = join(folder, 'churn');
    const answers = await Promise.all(many.map((each) => each.ask({ do: 'churn', path, turns: 60, dead })));
    expect(answers.map(({ error }) => error)).toEqual(answers.map(() => undefined));
    expect(answers.reduce((sum, { wins }) => sum + (wins ?? 0), 0)).toBeGreaterThan(20);
  });

  it('is free for the next one after kill -9 of its holder, and is told to be stale until then', async () => {
    const path = join(folder, 'killed');
    const one = startContender();
    await one.ask({ do: 'acquire', path, at: 0 });
    expect(await new BuildLock(path).inspect()).toMatchObject({ kind: 'held', holder: { pid: one.process.pid, buildId: 'a-build' } });
    await expect(new BuildLock(path).clear()).rejects.toMatchObject({ code: 'lock-live' });
    await one.kill();
    expect(await new BuildLock(path).inspect()).toMatchObject({ kind: 'stale', holder: { pid: one.process.pid } });
    const held = (await new BuildLock(path).acquire('next')) as HeldLock;
    expect(await held.isStillOurs()).toBe(true);
    await held.release();
  });

  it('of a stopped process in another container is held, and stale once that process is killed', async () => {
    const path = join(folder, 'container');
    const one = startContender();
    await one.ask({ do: 'acquire', path, at: 0 });
    const record = JSON.parse(await readFile(path, 'utf8'));
    // Its number means nothing in our namespace: 1 lives, and is another one.
    await writeFile(`${path}.part`, JSON.stringify({ ...record, pid: 1, startedAt: '1', host: 'c0ffee', pidNamespace: 'pid:[1]' }));
    await rename(`${path}.part`, path);
    one.process.kill('SIGSTOP');
    expect(await new BuildLock(path).acquire('next')).toMatchObject({ kind: 'held', holder: { host: 'c0ffee' } });
    await expect(new BuildLock(path).clear()).rejects.toMatchObject({ code: 'lock-live' });
    await one.kill();
    await eventually('it is stale', async () => (await new BuildLock(path).inspect()).kind === 'stale');
    await new BuildLock(path).clear();
    expect(await new BuildLock(path).inspect()).toEqual({ kind: 'free' });
  });
});
