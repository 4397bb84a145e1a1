/** One repository at the newest commit of its branch, and nothing but that commit. Needs git 2.29, for what `fetch --stdin` reads. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BuildFailure } from './build-error.ts';
import { type Git, gitIn, type Setting } from './git.ts';
import { fetchFiles } from './git-files.ts';
import type { GitSource } from './git-sources.ts';
import type { Run } from './programs.ts';

/** What git says of a repository that a power cut damaged. */
const DAMAGED =
  /corrupt|bad object|is empty|not a git repository|loose object|index file|unable to read (?:tree|sha1)|unresolved deltas|invalid sha1 pointer/i;

/** What a server answers that leaves files out, and does not give them by name either. */
const REFUSED = /not our ref|unadvertised object/i;

/** The commit that is being fetched. HEAD is always whole. */
const NEXT = 'refs/lists/next';

/**
 * Clones, or fetches and resets; whatever an interrupted one left is cleared away or used. Files come in batches, each of which stays
 * when a later one is interrupted; from a server that cannot leave files out (`uploadpack.allowFilter`) all of a list comes at once.
 * Repositories that are up to date cost one request. Resolves with a sentence where the lists are whole and git could not tidy up after
 * itself, else with null. Rejects with a BuildFailure when the newest state could not be had. A repository that is damaged on the disk is
 * fetched anew.
 */
export async function fetchRepository(
  cacheDir: string,
  source: GitSource,
  run: Run,
  tell: (percent: string) => void,
): Promise<string | null> {
  const folder = join(cacheDir, source.folder);
  await mkdir(folder, { recursive: true });
  try {
    return await update(folder, source, run, tell);
  } catch (thrown) {
    if (!(thrown instanceof BuildFailure && DAMAGED.test(thrown.message))) throw thrown;
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    return await update(folder, source, run, tell);
  }
}

async function update(folder: string, source: GitSource, run: Run, tell: (percent: string) => void): Promise<string | null> {
  const gitFolder = join(folder, '.git');
  await removeLocks(gitFolder);
  const git = gitIn(folder, source, run, []);
  await git(['init', '--quiet']);
  await fetchNext(gitFolder, source, git, gitIn(folder, source, run, PARTIAL), tell);
  await git(['reset', '--hard', '--quiet', NEXT]);
  await git(['clean', '-ffdxq']);
  // What the fetches of other days brought would fill the disk. In the foreground: git's own goes on behind our back.
  try {
    await becomeWhole(gitFolder);
    await git(['gc', '--auto', '--quiet']);
    return null;
  } catch (thrown) {
    if (!(thrown instanceof BuildFailure)) throw thrown;
    return `What older fetches left in ${source.folder} could not be removed, and takes space: ${thrown.message}`;
  }
}

/** `partial` is git in the same repository, which then may lack files. */
async function fetchNext(gitFolder: string, { branch }: GitSource, git: Git, partial: Git, tell: (percent: string) => void): Promise<void> {
  const onProgress = (what: string, percent: number) => tell(`${what}: ${percent} %`);
  const fetchCommit = (by: Git, ...more: string[]) =>
    by(['fetch', '--depth', '1', '--no-tags', '--progress', ...more, 'lists', `+refs/heads/${branch}:${NEXT}`], { onProgress });
  try {
    await fetchCommit(partial, '--filter=blob:none');
    await fetchFiles(gitFolder, NEXT, partial, (share) => onProgress('Receiving files', Math.floor(share * 100)));
  } catch (thrown) {
    if (!(thrown instanceof BuildFailure && REFUSED.test(thrown.message))) throw thrown;
    await git(['update-ref', '-d', NEXT]);
    await fetchCommit(git);
  }
}

/** Nothing is missing any more. git would never remove what came while something was. */
async function becomeWhole(gitFolder: string): Promise<void> {
  const packs = join(gitFolder, 'objects', 'pack');
  for (const file of await readdir(packs)) if (file.endsWith('.promisor')) await rm(join(packs, file), { force: true });
}

/** Given at each call and not kept in the repository, so that it is an ordinary one whenever all its files are there. */
const PARTIAL: readonly Setting[] = [
  ['remote.lists.promisor', 'true'],
  ['remote.lists.partialclonefilter', 'blob:none'],
];

/** What a dead fetch leaves: locks at any depth (`refs/heads/main.lock`), and halves of what was written. */
const LEFT = /\.lock$|^lists-(?:wanted|batch)$|^gc\.pid$|^packed-refs\.new$|^\.tmp-|^tmp_(?:pack|idx|rev|obj|bitmap|mtimes|graph)_/;

/** Only the holder of the builder's lock comes here, and the group of a dead one was ended: a lock file found now is nobody's. */
async function removeLocks(git: string): Promise<void> {
  const entries = await readdir(git, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries)
    if (!entry.isDirectory() && LEFT.test(entry.name)) await rm(join(entry.parentPath, entry.name), { force: true });
}
