/** Runs git where the lists are, so that it asks nothing, follows nothing, and tells the log neither addresses nor passwords. */
import { join } from 'node:path';
import type { GitSource } from './git-sources.ts';
import type { Run } from './programs.ts';

const ADVICE = `Check the network, or name a mirror in TRIVY_DB_GIT_SOURCES. The published database stays, and the next build goes on with \
what was fetched.`;

export interface GitOptions {
  /** A file that it reads. */
  readonly input?: string;
  /** Sees each line of its output, which then is not in the log. Must not throw. */
  readonly onOutput?: (line: string) => void;
  /** `what` in git's words. */
  readonly onProgress?: (what: string, percent: number) => void;
}

/** Runs git in the repository. Rejects with a BuildFailure. */
export type Git = (args: readonly string[], options?: GitOptions) => Promise<void>;

export type Setting = readonly [key: string, value: string];

/** Said once for each batch of files, to nobody's use. */
const NOISE = /^remote: (?:Enumerating objects: |Total )\d/;
const WHOLE_ONLY = /^warning: filtering not recognized by server/;

/** In the `folder` of the source, which must exist; with `settings` on top of those that keep git from asking and from acting by itself. */
export function gitIn(folder: string, source: GitSource, run: Run, settings: readonly Setting[]): Git {
  const { url, folder: name } = source;
  const env = environment(folder, url, settings);
  const hide = hiding(folder, source);
  return (args, { input, onOutput, onProgress } = {}) => {
    const command = args.find((each, index) => !each.startsWith('-') && args[index - 1] !== '-c');
    const onLine = (text: string, from: 'stdout' | 'stderr') => {
      if (onOutput !== undefined && from === 'stdout') return onOutput(text) ?? null;
      if (WHOLE_ONLY.test(text)) return `${name} comes whole from its server: when this is interrupted, it begins anew.`;
      return NOISE.test(text) || isProgress(text, onProgress) ? null : hide(text);
    };
    return run(`git ${command} of ${name}`, 'git', args, {
      cwd: folder,
      env,
      advice: ADVICE,
      onLine,
      ...(input !== undefined && { input }),
    });
  };
}

const PERCENT = /^(?:remote: )?([A-Z][a-z]+ [a-z]+): +(\d+)%/;

function isProgress(text: string, tell: GitOptions['onProgress']): boolean {
  const found = PERCENT.exec(text);
  if (found !== null) tell?.(found[1]!, Number(found[2]));
  return found !== null;
}

/**
 * The address of the repository is given here and not as an argument: it may hold a password, and anybody may list arguments.
 * No reflog, so that a collection leaves only the newest commit; no hooks, no questions.
 */
function environment(folder: string, url: string, more: readonly Setting[]): Record<string, string> {
  const settings: Setting[] = [
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
    ...more,
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

/** The log is open to whoever reaches the port: neither where the folder is nor where the lists come from is told there. */
function hiding(folder: string, { url, folder: name }: GitSource): (text: string) => string {
  const host = /^(?!file:)(?:[a-z+]+:\/\/)?(?:[^@/]*@)?([^:/@]+)/i.exec(url)?.[1];
  const isHost = host === undefined ? null : new RegExp(`(?<![\\w.-])${host.replaceAll(/[^\w-]/g, '\\$&')}(?![\\w-])`, 'gi');
  const known = [folder, url, url.replace(/^file:\/\//, '')].filter((each) => each.length > 3).sort((a, b) => b.length - a.length);
  return (text) => {
    const named = known.reduce((said, each) => said.replaceAll(each, name), text).replaceAll(/[a-z][a-z+]*:\/\/[^\s']+/gi, name);
    return isHost === null ? named : named.replaceAll(isHost, 'its host');
  };
}
