import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { MAX_LINE_BYTES } from './build-log-format.ts';
import { isAliveHere } from './process-identity.ts';
import { type ProgramEnd, runProgram } from './run-program.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-run-'));
});

afterAll(() => rm(folder, { recursive: true }));

const env = { PATH: process.env['PATH'] };
const never = new AbortController().signal;

interface Line {
  readonly text: string;
  readonly from: string;
  readonly cutBytes: number;
}

interface Running {
  readonly lines: Line[];
  readonly end: Promise<ProgramEnd>;
}

function run(program: string, args: readonly string[], options: { signal?: AbortSignal; graceMs?: number; cwd?: string } = {}): Running {
  const lines: Line[] = [];
  const onLine = (text: string, from: string, cutBytes: number) => void lines.push({ text, from, cutBytes });
  return { lines, end: runProgram(program, args, { env, signal: never, onLine, ...options }) };
}

/** A program of node; what it writes first tells that it is ready. */
const node = (source: string, options: Parameters<typeof run>[2] = {}) => run(process.execPath, ['-e', source], options);
const shell = (source: string, options: Parameters<typeof run>[2] = {}) => run('/bin/sh', ['-c', source], options);

describe('a program', () => {
  it('gives its lines, and its exit code', async () => {
    const { lines, end } = shell('echo one; echo two >&2; printf "three\\r\\nfour\\r5%%\\r10%%\\rlast"; exit 7');
    expect(await end).toEqual({ exitCode: 7, signal: null });
    expect(lines.filter(({ from }) => from === 'stdout').map(({ text }) => text)).toEqual(['one', 'three', 'four', '5%', '10%', 'last']);
    expect(lines.filter(({ from }) => from === 'stderr').map(({ text }) => text)).toEqual(['two']);
  });

  it('gets exactly the environment, the folder and the arguments that were named, and no input', async () => {
    const source =
      'process.stdin.resume().on("end", () => console.log(JSON.stringify([process.env, process.cwd(), process.argv.slice(1)])))';
    const lines: string[] = [];
    const onLine = (text: string) => void lines.push(text);
    const args = ['-e', source, '--', '$(touch x); "quoted"\n*'];
    await runProgram(process.execPath, args, { cwd: folder, env: { ONLY: 'this' }, signal: never, onLine });
    expect(JSON.parse(lines.join())).toEqual([{ ONLY: 'this' }, folder, ['$(touch x); "quoted"\n*']]);
  });

  it('cannot fill the memory with a line that has no end', async () => {
    const { lines, end } = shell('head -c 50000000 /dev/zero | tr "\\0" a; echo; echo after');
    await end;
    expect(lines.map(({ text, cutBytes }) => [text.length, cutBytes])).toEqual([
      [MAX_LINE_BYTES, 50_000_000 - MAX_LINE_BYTES],
      [5, 0],
    ]);
  });

  it('may write anything', async () => {
    const { lines, end } = shell("printf '\\377\\376 \\000 \\033[31mred\\033[0m <script>\\n'");
    await end;
    expect(lines.map(({ text }) => text)).toEqual(['\uFFFD\uFFFD \0 \x1b[31mred\x1b[0m <script>']);
  });

  it('that was cancelled before is not started', async () => {
    const mark = join(folder, 'started');
    const { end } = run('/usr/bin/touch', [mark], { signal: AbortSignal.abort() });
    expect(await end).toEqual({ exitCode: null, signal: 'SIGTERM' });
    await expect(readFile(mark)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it.each([
    ['is not there', () => run('/nowhere/trivy-db', []), /^\/nowhere\/trivy-db could not be started: it was not found\./],
    ['may not be executed', () => run(join(folder, 'plain'), []), /it may not be executed/],
    [
      'has no folder to run in',
      () => run('/bin/true', [], { cwd: join(folder, 'gone') }),
      /\/bin\/true could not be started: the folder that it should run in does not exist/,
    ],
    ['gets a name that none can have', () => run('a\0b', []), /could not be started/],
  ])('that %s is told apart from one that fails', async (_what, begin, expected) => {
    await writeFile(join(folder, 'plain'), 'no program');
    await expect(begin().end).rejects.toThrow(expected);
  });

  it('that ignores SIGTERM is killed after the grace', async () => {
    const cancel = new AbortController();
    const { lines, end } = node('process.on("SIGTERM", () => console.log("no")); console.log("ready"); setInterval(() => {}, 1000)', {
      signal: cancel.signal,
      graceMs: 300,
    });
    await eventually('it is ready', () => lines.length > 0);
    const began = performance.now();
    cancel.abort();
    expect(await end).toEqual({ exitCode: null, signal: 'SIGKILL' });
    expect(performance.now() - began).toBeGreaterThan(290);
    expect(lines.map(({ text }) => text)).toEqual(['ready', 'no']);
  });

  it('may end by itself within the grace', async () => {
    const cancel = new AbortController();
    const { lines, end } = node('process.on("SIGTERM", () => process.exit(3)); console.log("ready"); setInterval(() => {}, 1000)', {
      signal: cancel.signal,
    });
    await eventually('it is ready', () => lines.length > 0);
    cancel.abort();
    expect(await end).toEqual({ exitCode: 3, signal: null });
  });

  it('takes what it has started with it, also when that ignores SIGTERM and its parent has gone', async () => {
    const cancel = new AbortController();
    // The grandchild has a parent that ends at once.
    const source = `(trap '' TERM; sh -c 'trap "" TERM; echo $$; while :; do sleep 1; done' & ) ; wait; exec sleep 1000`;
    const { lines, end } = shell(source, { signal: cancel.signal, graceMs: 300 });
    const grandchild = Number(await eventually('the grandchild runs', () => lines[0]?.text));
    cancel.abort();
    expect(await end).toEqual({ exitCode: null, signal: 'SIGTERM' });
    expect(await isAliveHere(grandchild, null)).toBe(false);
  });

  it('that has ended leaves nothing running', async () => {
    const { lines, end } = shell('sleep 1000 & echo $!; exit 0', { graceMs: 5000 });
    expect(await end).toEqual({ exitCode: 0, signal: null });
    expect(await isAliveHere(Number(lines[0]?.text), null)).toBe(false);
  });

  it('does not outlive us, nor does what it has started, when we are killed', async () => {
    const module = JSON.stringify(new URL('run-program.ts', import.meta.url).href);
    const source = `
      const { runProgram } = await import(${module});
      const onLine = (text) => console.log(text);
      await runProgram('/bin/sh', ['-c', 'sleep 1000 & echo $$ $!; wait'], { env: process.env, signal: new AbortController().signal, onLine });`;
    const us = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(us.stdout, 'data')) as [Buffer];
    const pids = line.toString().trim().split(' ').map(Number);
    expect(pids).toHaveLength(2);
    for (const pid of pids) expect(await isAliveHere(pid, null)).toBe(true);
    us.kill('SIGKILL');
    for (const pid of pids) await eventually('it has ended', async () => !(await isAliveHere(pid, null)));
  });

  it('leaves no guard behind', async () => {
    let during: string[] = [];
    const onStart = () => {
      during = children();
    };
    const before = children();
    await runProgram('/bin/true', [], { env, signal: never, onLine() {}, onStart });
    const ours = during.filter((pid) => !before.includes(pid));
    expect(ours).toHaveLength(2);
    for (const pid of ours) await eventually('it has ended', async () => !(await isAliveHere(Number(pid), null)));
  });
});

function children(): string[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ');
}
