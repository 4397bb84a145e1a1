/**
 * The files of a list, fetched in batches. git cannot go on with a pack that was cut off, so one pack would begin anew after each
 * interruption; of many small ones only the last is lost.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Git } from './git.ts';

const FIRST_BATCH = 1000;
const LEAST_BATCH = 250;
/** A request of a megabyte; a checkout of git's own asks for more than that at once. */
const MOST_BATCH = 20_000;
/** What an interruption may cost. */
const LONG_MS = 20_000;
/** Beside this the round trips of a batch are nothing. */
const SHORT_MS = 5000;
const WRITE_BYTES = 64 * 1024;

/** Names of what is missing, a line each, all as long as the first. */
interface Wanted {
  readonly path: string;
  readonly lineBytes: number;
  readonly count: number;
  /** That the commit has, with what is there. */
  readonly of: number;
}

/**
 * Brings the files of `commit` that are not there yet, whatever left them out: a fetch without files, an interruption or a damage.
 * `tell` hears what share of it all is there, from 0 to 1. Rejects as `git` does; what was brought until then stays.
 */
export async function fetchFiles(gitFolder: string, commit: string, git: Git, tell: (share: number) => void): Promise<void> {
  const wanted = await listMissing(join(gitFolder, 'lists-wanted'), commit, git);
  const batchPath = join(gitFolder, 'lists-batch');
  try {
    let size = FIRST_BATCH;
    for (let done = 0; done < wanted.count; ) {
      const count = Math.min(size, wanted.count - done);
      const here = wanted.of - wanted.count + done;
      await writeFile(batchPath, await namesOf(wanted, done, count));
      const began = performance.now();
      tell(here / wanted.of);
      await fetchBatch(git, batchPath, (share) => tell((here + share * count) / wanted.of));
      done += count;
      size = nextSize(size, performance.now() - began);
    }
  } finally {
    await rm(wanted.path, { force: true });
    await rm(batchPath, { force: true });
  }
}

/** Slow lines get small batches, for an interruption costs one; fast ones large batches, for each has its round trips. */
function nextSize(size: number, tookMs: number): number {
  if (tookMs > LONG_MS) return Math.max(LEAST_BATCH, Math.floor(size / 2));
  return tookMs < SHORT_MS ? Math.min(MOST_BATCH, size * 2) : size;
}

/** As git itself fetches what a partial clone lacks: nothing is negotiated, for what is wanted is known by name. */
function fetchBatch(git: Git, names: string, tell: (share: number) => void): Promise<void> {
  const quiet = ['--no-tags', '--no-write-fetch-head', '--recurse-submodules=no', '--progress'];
  return git(['-c', 'fetch.negotiationAlgorithm=noop', 'fetch', ...quiet, '--filter=blob:none', '--stdin', 'lists'], {
    input: names,
    onProgress: (what, percent) => {
      if (what === 'Receiving objects') tell(percent / 100);
    },
  });
}

/** Through a file: there may be a million of them. */
async function listMissing(path: string, commit: string, git: Git): Promise<Wanted> {
  const file = openSync(path, 'w');
  let pending = '';
  let [lineBytes, count, all] = [0, 0, 0];
  try {
    await git(['rev-list', '--objects', '--missing=print', commit], {
      onOutput: (line) => {
        all++;
        if (!line.startsWith('?')) return;
        count++;
        lineBytes = line.length;
        pending += `${line.slice(1)}\n`;
        if (pending.length < WRITE_BYTES) return;
        writeSync(file, pending);
        pending = '';
      },
    });
    writeSync(file, pending);
  } finally {
    closeSync(file);
  }
  return { path, lineBytes, count, of: all };
}

async function namesOf({ path, lineBytes }: Wanted, from: number, count: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const names = Buffer.alloc(count * lineBytes);
    const { bytesRead } = await file.read(names, 0, names.length, from * lineBytes);
    return names.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
