/** The `fetch` phase: the vulnerability lists are brought, or at least looked for. A list that could not be renewed fails the build. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BuildFailure } from './build-error.ts';
import { fetchRepository } from './git-fetch.ts';
import { foldersOf, type GitSource, repositoriesFor } from './git-sources.ts';
import type { Run } from './programs.ts';

export interface FetchOptions {
  readonly cacheDir: string;
  readonly sources: readonly string[];
  readonly by: 'git' | 'command' | 'none';
  readonly command: readonly string[] | null;
  /** Each in place of the upstream repository of its folder. */
  readonly git: readonly GitSource[] | null;
}

/** What is told on the way; progress is from 0 to 1. What `isStep` belongs in the log too. */
type Tell = (detail: string, progress: number | null, isStep: boolean) => void;

/** Resolves with a sentence on what was done. Rejects with a BuildFailure. */
export async function fetchLists(options: FetchOptions, run: Run, tell: Tell): Promise<string> {
  const done = await brought(options, run, tell);
  await mustExist(options);
  return done;
}

async function brought({ cacheDir, sources, by, command, git }: FetchOptions, run: Run, tell: Tell): Promise<string> {
  if (by === 'none') return 'The lists in TRIVY_DB_CACHE_DIR are used as they are.';
  if (by === 'command') {
    const [program, ...args] = command ?? [];
    if (program === undefined) throw new BuildFailure('TRIVY_DB_FETCH is command, and TRIVY_DB_FETCH_COMMAND is not set. Set it.');
    tell('TRIVY_DB_FETCH_COMMAND fetches the lists.', null, true);
    await run('TRIVY_DB_FETCH_COMMAND', program, args, {
      cwd: cacheDir,
      advice: 'Run TRIVY_DB_FETCH_COMMAND by hand to see why. The published database stays.',
    });
    return 'TRIVY_DB_FETCH_COMMAND has fetched the lists.';
  }
  const repositories = repositoriesFor(sources, git ?? []);
  const problems: string[] = [];
  for (const [index, repository] of repositories.entries()) {
    const begun = `Fetching ${repository.folder}, ${index + 1} of ${repositories.length}.`;
    const share = index / repositories.length;
    tell(begun, share, true);
    const problem = await fetchRepository(cacheDir, repository, run, (percent) => tell(`${begun} ${percent}`, share, false));
    if (problem !== null) problems.push(problem);
  }
  return [`${repositories.length} ${repositories.length === 1 ? 'repository is' : 'repositories are'} fetched.`, ...problems].join(' ');
}

/** trivy-db says it too, but only after hours of the sources before, and with fifty lines of stack. */
async function mustExist({ cacheDir, sources, by }: FetchOptions): Promise<void> {
  const missing: string[] = [];
  for (const { source, folder } of foldersOf(sources)) {
    const entries = await readdir(join(cacheDir, folder)).catch(() => []);
    if (entries.length === 0) missing.push(`${folder} (for ${source})`);
  }
  if (missing.length === 0) return;
  const shown = `${missing.slice(0, 4).join(', ')}${missing.length > 4 ? ` and ${missing.length - 4} more` : ''}`;
  const advice =
    by === 'none'
      ? 'Put the lists there, or leave the source out of TRIVY_DB_SOURCES.'
      : 'Check what is fetched, or leave the source out of TRIVY_DB_SOURCES.';
  throw new BuildFailure(`In TRIVY_DB_CACHE_DIR these folders are missing or empty: ${shown}. ${advice}`);
}
