/** The programs of a build, obtained when they are first needed. */
import { access, constants, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { obtainGoTool } from '../../scripts/parts/go-tools.ts';
import { BuildFailure, unlessAborted } from './build-error.ts';
import { goEnvironment } from './child-environment.ts';

export interface Tools {
  readonly trivyDb: string;
  readonly bbolt: string;
}

/** Programs are killed two seconds after they were asked to end. */
const ENDING_MS = 5000;

/**
 * The named programs, else those on PATH or in the cache of the pinned versions, else built from their pinned Go modules, which takes
 * about a minute and is told line by line. Rejects with a BuildFailure.
 */
export async function resolveTools(
  bin: { readonly trivyDb: string | null; readonly bbolt: string | null },
  report: (line: string) => void,
  signal: AbortSignal,
): Promise<Tools> {
  const trivyDb = await resolved('trivy-db', bin.trivyDb, 'TRIVY_DB_BIN', report, signal);
  const bbolt = await resolved('bbolt', bin.bbolt, 'BBOLT_BIN', report, signal);
  return { trivyDb, bbolt };
}

async function resolved(
  name: 'trivy-db' | 'bbolt',
  path: string | null,
  variable: string,
  report: (line: string) => void,
  signal: AbortSignal,
) {
  if (path !== null) {
    if (!(await isProgram(path)))
      throw new BuildFailure(`What ${variable} names is not a program. Correct it, or unset it to use the pinned one.`);
    return resolve(path);
  }
  signal.throwIfAborted();
  try {
    return await endedBy(
      obtainGoTool(name, (line) => report(withoutFolders(line)), { env: goEnvironment(), signal }),
      signal,
    );
  } catch (thrown) {
    signal.throwIfAborted();
    const why = withoutFolders(thrown instanceof Error ? thrown.message : String(thrown));
    throw new BuildFailure(`${name} could not be obtained: ${why} Install Go, or set ${variable} to a ${name} program.`);
  }
}

/** The log is open to whoever reaches the port, and where things are on this machine is not for them. */
function withoutFolders(text: string): string {
  return text.replaceAll(/(?<![\w:./])(?:\/[\w.@+-]+){2,}\/([\w.@+-]+)/g, '$1');
}

/** Once aborted, as soon as its programs have ended; what another process does is not waited for. */
async function endedBy<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const abort = () => {
    timer = setTimeout(() => late.abort(signal.reason), ENDING_MS);
  };
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await unlessAborted(work, late.signal);
  } finally {
    signal.removeEventListener('abort', abort);
    clearTimeout(timer);
  }
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
