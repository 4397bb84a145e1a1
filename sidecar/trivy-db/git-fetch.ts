/** One repository at the newest commit of its branch, and nothing but that commit. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BuildFailure } from './build-error.ts';
import type { GitSource } from './git-sources.ts';
import type { Run } from './programs.ts';

const ADVICE = 'Check the network, or name a mirror in TRIVY_DB_GIT_SOURCES. The published database stays.';

/** What git says of a repository that a power cut damaged. */
const DAMAGED =
  /corrupt|bad object|is empty|not a git repository|loose object|index file|unable to read tree|unresolved deltas|invalid sha1 pointer/i;

/**
 * Clones, or fetches and resets; whatever an interrupted one left is cleared away or used. Repositories that are up to date cost one
 * request. Resolves with a sentence where the lists are whole and git could not tidy up after itself, else with null. Rejects with a
 * BuildFailure when the newest state could not be had. A repository that is damaged on the disk is fetched anew.
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
  const { url, branch, folder: name } = source;
  await removeLocks(join(folder, '.git'));
  const env = environment(folder, url);
  const hide = hiding(folder, source);
  const git = (args: readonly string[]) =>
    run(`git ${args[0]} of ${name}`, 'git', args, {
      cwd: folder,
      env,
      advice: ADVICE,
      onLine: (text) => (isProgress(text, tell) ? null : hide(text)),
    });
  await git(['init', '--quiet']);
  await git(['fetch', '--depth', '1', '--no-tags', '--force', '--progress', 'lists', `refs/heads/${branch}`]);
  await git(['reset', '--hard', '--quiet', 'FETCH_HEAD']);
  await git(['clean', '-ffdxq']);
  // What the fetches of other days brought would fill the disk. In the foreground: git's own goes on behind our back.
  try {
    await git(['gc', '--auto', '--quiet']);
    return null;
  } catch (thrown) {
    if (!(thrown instanceof BuildFailure)) throw thrown;
    return `What older fetches left in ${name} could not be removed, and takes space: ${thrown.message}`;
  }
}

const PERCENT = /^(?:remote: )?([A-Z][a-z]+ [a-z]+): +(\d+)%/;

function isProgress(text: string, tell: (percent: string) => void): boolean {
  const found = PERCENT.exec(text);
  if (found !== null) tell(`${found[1]}: ${found[2]} %`);
  return found !== null;
}

/**
 * The address of the repository is given here and not as an argument: it may hold a password, and anybody may list arguments.
 * No reflog, so that a collection leaves only the newest commit; no hooks, no questions.
 */
function environment(folder: string, url: string): Record<string, string> {
  const settings: [string, string][] = [
    ['remote.lists.url', url],
    ['safe.directory', folder],
    ['core.hooksPath', '/dev/null'],
    ['core.logAllRefUpdates', 'false'],
    ['core.autocrlf', 'false'],
    // A link would have trivy-db read whatever it names on this machine. As a file it is no list, and the build says so.
    ['core.symlinks', 'false'],
    ['gc.autoDetach', 'false'],
    ['maintenance.auto', 'false'],
    ['gc.autoPackLimit', '4'],
    ['gc.pruneExpire', 'now'],
    ['init.defaultBranch', 'main'],
    ['advice.detachedHead', 'false'],
    // A branch that stalls for ten minutes is a failed fetch, not a build that never ends.
    ['http.lowSpeedLimit', '1000'],
    ['http.lowSpeedTime', '600'],
  ];
  const numbered = settings.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  return {
    ...Object.fromEntries(numbered),
    GIT_CONFIG_COUNT: String(settings.length),
    GIT_TERMINAL_PROMPT: '0',
    GIT_DIR: join(folder, '.git'),
    GIT_WORK_TREE: folder,
  };
}

/** What a dead git leaves: locks at any depth (`refs/heads/main.lock`), and halves of what it wrote. */
const LEFT = /\.lock$|^gc\.pid$|^packed-refs\.new$|^\.tmp-|^tmp_(?:pack|idx|rev|obj|bitmap|mtimes|graph)_/;

/** Only the holder of the builder's lock comes here, and the group of a dead one was ended: a lock file found now is nobody's. */
async function removeLocks(git: string): Promise<void> {
  const entries = await readdir(git, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries)
    if (!entry.isDirectory() && LEFT.test(entry.name)) await rm(join(entry.parentPath, entry.name), { force: true });
}

/** The log is open to whoever reaches the port: neither where the folder is nor where the lists come from is told there. */
function hiding(folder: string, { url, folder: name }: GitSource): (text: string) => string {
  const host = /^(?:[a-z+]+:\/\/)?(?:[^@/]*@)?([^:/@]+)/i.exec(url)?.[1];
  const isHost = host === undefined ? null : new RegExp(`(?<![\\w.-])${host.replaceAll(/[^\w-]/g, '\\$&')}(?![\\w-])`, 'gi');
  const known = [folder, url, url.replace(/^file:\/\//, '')].filter((each) => each.length > 3).sort((a, b) => b.length - a.length);
  return (text) => {
    const named = known.reduce((said, each) => said.replaceAll(each, name), text).replaceAll(/[a-z][a-z+]*:\/\/[^\s']+/gi, name);
    return isHost === null ? named : named.replaceAll(isHost, 'its host');
  };
}
