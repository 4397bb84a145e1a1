/** One temporary folder for everything, gone with all processes of ours however the run ends. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const signals = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
const PATIENCE_MS = 5_000;

/**
 * Runs `work` with a temporary folder of its own, for this process and all it starts. On SIGINT, SIGTERM, SIGHUP, or when the
 * process that started us has gone, kills what was started, removes the folder and exits with 128 + the signal's number.
 */
export async function inOwnFolder<T>(work: () => Promise<T>): Promise<T> {
  const before = process.env.TMPDIR;
  const folder = mkdtempSync(join(tmpdir(), 'pocketwarden-bench-'));
  process.env.TMPDIR = folder;
  // Without giving the event loop a turn: the measure under way would take its loss for a failure and begin the next one.
  const leave = (signal: keyof typeof signals) => {
    killChildren();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    process.exit(128 + signals[signal]);
  };
  const abandoned = () => leave('SIGTERM');
  for (const signal of Object.keys(signals)) process.on(signal, leave);
  process.on('disconnect', abandoned);
  try {
    return await work();
  } finally {
    for (const signal of Object.keys(signals)) process.off(signal, leave);
    process.off('disconnect', abandoned);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
}

/** Kills this process's own children by their ids and waits until they are dead. */
function killChildren(): void {
  const deadline = Date.now() + PATIENCE_MS;
  for (let left = livingChildren(); left.length > 0 && Date.now() < deadline; left = livingChildren()) {
    for (const pid of left) process.kill(pid, 'SIGKILL');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
}

/** By the kernel's own list, which also knows those that have only just been started. */
function livingChildren(): number[] {
  const threads = readdirSync('/proc/self/task');
  const lists = threads.map((thread) => readFileSync(`/proc/self/task/${thread}/children`, 'utf8'));
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number)).filter(isAlive);
}

/** A zombie is dead, and only this process can bury it. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
