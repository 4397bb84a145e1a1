import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Report, withPatience } from './report.ts';
import { findProgram, runOrThrow } from './run.ts';

export interface DebianSelection {
  /** For humans. */
  readonly what: string;
  /** The first one's version is the version of the whole; each comes with every library it needs. */
  readonly programs: readonly [string, ...string[]];
  /** Data, and programs that need no library of their own. */
  readonly others?: readonly string[];
  /** What the version must look like, and how a human would say it. */
  readonly version?: { readonly pattern: RegExp; readonly words: string };
  /** About what is fetched. */
  readonly mebibytes: number;
}

const STRONG_DEPENDENCIES_ONLY = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'].map((kind) => `--no-${kind}`);

/** The C library must be the machine's own. */
const LEFT_OUT = new Set(['libc6', 'libc-bin']);

/**
 * Unpacks programs and their libraries from the Debian or Ubuntu archive that this machine already trusts, as any user: apt gets a
 * state of its own inside `folder`, checks signatures and hashes as ever, and touches nothing of the system. Nothing is configured
 * and no script of a package runs.
 */
export async function unpackFromDebian(folder: string, selection: DebianSelection, report: Report): Promise<void> {
  for (const program of ['apt-get', 'apt-cache', 'apt-config', 'dpkg-deb'])
    if ((await findProgram(program)) === null) throw new Error(`this system has no ${program}`);
  const { what, programs, others = [], version, mebibytes } = selection;
  const state = join(folder, 'apt');
  const env = await privateApt(state);
  report('fetching the package lists of this system (about 14 MiB)');
  // A repository that cannot be reached makes apt-get fail although the ones that matter were read: the candidate decides.
  const updateFailed = await runOrThrow('apt-get', ['update'], { env }).then(
    () => '',
    (error: Error) => ` (${error.message})`,
  );
  const candidate = await candidateVersion(programs[0], env);
  if (candidate === null || !(version?.pattern ?? /\d/).test(candidate))
    throw new Error(`they offer ${programs[0]} ${candidate ?? 'not at all'}${version ? `, not ${version.words}` : ''}${updateFailed}`);
  const packages = [...programs, ...others, ...(await librariesOf(programs, env))];
  report(`fetching ${what} ${candidate} as ${packages.length} packages (about ${mebibytes} MiB)`);
  const archives = join(state, 'packages');
  await mkdir(archives);
  await withPatience(report, `fetching ${what}`, () => runOrThrow('apt-get', ['download', ...packages], { env, cwd: archives }));
  for (const archive of await readdir(archives)) await runOrThrow('dpkg-deb', ['-x', join(archives, archive), folder]);
  await rm(state, { recursive: true });
}

/** Distribution and release, because unpacked libraries fit only the C library of the release they were made for. */
export async function systemName(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const field = (name: string) => new RegExp(`^${name}="?([^"\n]*)`, 'm').exec(text)?.[1] ?? '';
  return [field('ID') || process.platform, field('VERSION_ID') || field('VERSION_CODENAME')].filter((part) => part !== '').join('-');
}

/** Where the libraries of an unpacked package are, for LD_LIBRARY_PATH. */
export async function libraryFolders(folder: string): Promise<string[]> {
  const folders: string[] = [];
  for (const base of ['usr/local/lib', 'usr/lib', 'lib'].map((name) => join(folder, name))) {
    const names = await readdir(base).catch(() => []);
    const architectures = names.filter((name) => name.includes('-linux-')).map((name) => join(base, name));
    folders.push(...architectures, ...(names.some((name) => name.includes('.so')) ? [base] : []));
  }
  return folders;
}

/** Environment for apt with state, cache and lists below `state`; sources, keys and proxy settings are the machine's. */
async function privateApt(state: string): Promise<NodeJS.ProcessEnv> {
  await mkdir(join(state, 'lists', 'partial'), { recursive: true });
  await mkdir(join(state, 'cache', 'archives', 'partial'), { recursive: true });
  const acquire = (await runOrThrow('apt-config', ['dump'])).split('\n').filter((line) => line.startsWith('Acquire::'));
  const settings = {
    // The machine's own fragments may run commands after an update; only their Acquire settings are taken over.
    'Dir::Etc::Parts': '/dev/null',
    'Dir::Etc::Main': '/dev/null',
    'Dir::State': state,
    'Dir::State::Lists': join(state, 'lists'),
    'Dir::State::Status': '/var/lib/dpkg/status',
    'Dir::Cache': join(state, 'cache'),
    'Dir::Log': state,
    'APT::Sandbox::User': '',
    'Debug::NoLocking': '1',
    'Acquire::Languages': 'none',
    'Acquire::http::Timeout': '20',
    'Acquire::https::Timeout': '20',
    'Acquire::Retries': '2',
  };
  const path = join(state, 'apt.conf');
  await writeFile(path, [...acquire, ...Object.entries(settings).map(([name, value]) => `${name} "${value}";`), ''].join('\n'));
  return { ...process.env, APT_CONFIG: path, LC_ALL: 'C' };
}

/** Without epoch; null when there is no such package. */
async function candidateVersion(program: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  const policy = await runOrThrow('apt-cache', ['policy', program], { env });
  const candidate = /Candidate: (?:\d+:)?(\d\S*)/.exec(policy)?.[1];
  return candidate ?? null;
}

/** Every library that the programs need, down to the last: what is missing would silently come from the machine. */
async function librariesOf(programs: readonly string[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const found = new Set<string>();
  let next: readonly string[] = programs;
  while (next.length > 0) {
    const names = await directDependencies(next, env);
    next = names.filter((name) => (name.startsWith('lib') || name === 'zlib1g') && !LEFT_OUT.has(name) && !found.has(name));
    for (const name of next) found.add(name);
  }
  return [...found].filter((name) => !programs.includes(name));
}

/** Of alternatives the first. A virtual package has none of its own and is left out. */
async function directDependencies(of: readonly string[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const text = await runOrThrow('apt-cache', ['depends', ...STRONG_DEPENDENCIES_ONLY, ...of], { env });
  const names = new Set<string>();
  let isAlternative = false;
  // "  Depends: name" stands alone; " |Depends: name" has the next line for an alternative; "<name>" is virtual.
  for (const [, bar, name] of text.matchAll(/^ ([ |])(?:Pre)?Depends: (\S+)$/gm)) {
    if (!isAlternative && name !== undefined && !name.startsWith('<')) names.add(name.replace(/:.*/, ''));
    isAlternative = bar === '|';
  }
  return [...names];
}
