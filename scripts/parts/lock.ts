import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const HEARTBEAT_MS = 2_000;
const STALE_AFTER_MS = 20_000;
const RETRY_MS = 250;

/**
 * Runs `work` while this process holds the lock file. A lock whose process is dead, or that nobody has touched for 20 s, is
 * taken over, so a killed holder blocks nobody. Two holders after a take-over race are possible in theory: what the lock
 * protects must stay correct with two, only slower.
 *
 * @param waiting told once when somebody else holds it
 */
export async function withLock<T>(path: string, waiting: (holder: string) => void, work: () => Promise<T>): Promise<T> {
  const mine = `${hostname()} ${process.pid}`;
  await mkdir(dirname(path), { recursive: true });
  let told = false;
  while (!(await tryCreate(path, mine))) {
    const stale = await staleHolder(path);
    if (stale !== null) {
      await removeIfStill(path, stale);
      continue;
    }
    if (!told) waiting(await readFile(path, 'utf8').catch(() => 'another process'));
    told = true;
    await sleep(RETRY_MS);
  }
  const heartbeat = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), HEARTBEAT_MS);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    await removeIfStill(path, mine);
  }
}

/** Whether a process of this machine exists; true also when it belongs to somebody else. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function tryCreate(path: string, content: string): Promise<boolean> {
  try {
    await writeFile(path, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function staleHolder(path: string): Promise<string | null> {
  try {
    const holder = await readFile(path, 'utf8');
    const age = Date.now() - (await stat(path)).mtimeMs;
    const [host, pid] = holder.split(' ');
    const dead = host === hostname() && Number(pid) > 0 && !isAlive(Number(pid));
    return dead || age > STALE_AFTER_MS ? holder : null;
  } catch {
    return null;
  }
}

async function removeIfStill(path: string, holder: string): Promise<void> {
  const aside = `${path}.${process.pid}.stale`;
  try {
    if ((await readFile(path, 'utf8')) !== holder) return;
    await rename(path, aside);
    await rm(aside, { force: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
