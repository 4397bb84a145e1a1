import { once } from 'node:events';
import { mkdir, open, readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { cacheRoot } from '../parts/cache.ts';
import type { Clamd } from '../parts/clamd.ts';
import { withLock } from '../parts/lock.ts';
import { type Report, withPatience } from '../parts/report.ts';
import { run } from '../parts/run.ts';
import { writeTestSignatures } from '../test-signatures.ts';

export interface Signatures {
  readonly kind: 'official' | 'test';
  readonly directory: string;
  /** For humans: which set and of when. */
  readonly description: string;
}

const MIRROR = 'database.clamav.net';
const DAY_MS = 86_400_000;
const REACH_MS = 5_000;
const DOWNLOAD_MS = 300_000;

/** Older than this the sidecar takes no work from the engine (MAX_SIGNATURE_AGE_HOURS). */
const OLDEST_USEFUL_DAYS = 7;

/**
 * The official signatures, kept in the cache and brought up to date at most once a day, or the test set where they cannot be had.
 * Never throws for lack of a network.
 */
export async function obtainSignatures(clamd: Clamd, testDirectory: string, report: Report): Promise<Signatures> {
  const directory = join(cacheRoot(), 'signatures');
  await refreshOfficial(clamd, directory, report);
  const date = await dateOfOfficial(directory);
  const day = date?.toISOString().slice(0, 10);
  if (date !== null && Date.now() - date.getTime() < OLDEST_USEFUL_DAYS * DAY_MS)
    return { kind: 'official', directory, description: `official, of ${day}` };
  if (date !== null) report(`the official signatures in ${directory} are of ${day}: too old to be of use`);
  await writeTestSignatures(testDirectory);
  return { kind: 'test', directory: testDirectory, description: 'TEST SET: finds EICAR and nothing else' };
}

/** Asks for newer official signatures unless that was done within a day; says in one line when it cannot. */
export async function refreshOfficial(clamd: Clamd, directory: string, report: Report): Promise<void> {
  const { freshclam } = clamd;
  if (freshclam === null) return report('official signatures: freshclam is not there');
  await withLock(
    `${directory}.lock`,
    (holder) => report(`waiting for process ${holder}, which is fetching signatures`),
    async () => {
      await mkdir(directory, { recursive: true });
      const stamp = join(directory, '.asked');
      if (Date.now() - (await lastModified(stamp)) < DAY_MS) return;
      const problem = await reach(MIRROR);
      if (problem !== null) return report(`official signatures: ${MIRROR} cannot be reached (${problem})`);
      const conf = join(directory, 'freshclam.conf');
      await writeFile(conf, freshclamConf(directory));
      report('fetching the official signatures (some 300 MiB the first time)');
      const args = [`--config-file=${conf}`, '--stdout', '--no-warnings'];
      const result = await withPatience(report, 'fetching signatures', () =>
        run(freshclam, args, { env: { ...process.env, ...clamd.env }, timeoutMs: DOWNLOAD_MS }),
      );
      if (result.code !== 0) return report(`official signatures: freshclam failed (${lastLine(`${result.stdout}\n${result.stderr}`)})`);
      await writeFile(stamp, '');
      await utimes(stamp, new Date(), new Date());
    },
  );
}

/** When the daily set was made, from its own header; null when there is none. */
export async function dateOfOfficial(directory: string): Promise<Date | null> {
  const names = await readdir(directory).catch(() => []);
  const name = names.find((candidate) => /^daily\.c[lv]d$/.test(candidate));
  if (name === undefined || !names.some((candidate) => /^main\.c[lv]d$/.test(candidate))) return null;
  const file = await open(join(directory, name));
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(512), 0, 512, 0);
    return dateInHeader(buffer.toString('latin1', 0, bytesRead));
  } finally {
    await file.close();
  }
}

/** `ClamAV-VDB:17 Sep 2026 04-26 -0400:27400:…`: day, time with a dash for the colon, zone. */
export function dateInHeader(header: string): Date | null {
  const match = /^ClamAV-VDB:(\d{1,2} [A-Z][a-z]{2} \d{4}) (\d{2})-(\d{2}) ([+-]\d{4}):/.exec(header);
  if (match === null) return null;
  const date = new Date(`${match[1]} ${match[2]}:${match[3]} ${match[4]}`);
  return Number.isNaN(date.getTime()) ? null : date;
}

function freshclamConf(directory: string): string {
  const directives = {
    DatabaseDirectory: directory,
    // As root freshclam becomes this user, and ends when there is none such.
    DatabaseOwner: userInfo().username,
    DatabaseMirror: MIRROR,
    ConnectTimeout: '10',
    ReceiveTimeout: '60',
    TestDatabases: 'yes',
  };
  return Object.entries(directives)
    .map(([name, value]) => `${name} ${value}\n`)
    .join('');
}

async function reach(host: string): Promise<string | null> {
  const socket = createConnection({ host, port: 443, timeout: REACH_MS });
  socket.on('timeout', () => socket.destroy(new Error(`no answer within ${REACH_MS / 1000} s`)));
  try {
    await once(socket, 'connect');
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  } finally {
    socket.destroy();
  }
}

async function lastModified(path: string): Promise<number> {
  return stat(path).then(
    (stats) => stats.mtimeMs,
    () => 0,
  );
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
