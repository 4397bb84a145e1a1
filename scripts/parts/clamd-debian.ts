import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Report, withPatience } from './report.ts';
import { findProgram, runOrThrow } from './run.ts';
import { formatVersion, parseVersion } from './version.ts';

const PROGRAMS = ['clamav-daemon', 'clamav-freshclam', 'clamdscan'];
const STRONG_DEPENDENCIES_ONLY = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'].map((kind) => `--no-${kind}`);

/** The C library must be the machine's own; the rest is neither loaded by clamd nor a library. */
const LEFT_OUT = /^(libc6|libc-bin|gcc-\d+-base|debconf.*|cdebconf)$/;

/**
 * Unpacks ClamAV and its libraries from the Debian or Ubuntu archive that this machine already trusts, as any user: apt gets a
 * state of its own inside `folder`, checks signatures and hashes as ever, and touches nothing of the system.
 */
export async function unpackFromDebian(folder: string, report: Report): Promise<void> {
  for (const program of ['apt-get', 'apt-cache', 'apt-config', 'dpkg-deb'])
    if ((await findProgram(program)) === null) throw new Error(`this system has no ${program}`);
  const state = join(folder, 'apt');
  const env = await privateApt(state);
  report('fetching the package lists of this system (about 14 MiB)');
  // A repository that cannot be reached makes apt-get fail although the ones that matter were read: the candidate decides.
  const updateFailed = await runOrThrow('apt-get', ['update'], { env }).then(
    () => '',
    (error: Error) => ` (${error.message})`,
  );
  const candidate = await candidateVersion(env);
  if (!/^1\.4\./.test(candidate)) throw new Error(`they offer clamav ${candidate || 'not at all'}, not 1.4${updateFailed}`);
  const packages = [...PROGRAMS, ...(await librariesOf(env))];
  report(`fetching ClamAV ${candidate} as ${packages.length} packages (about 27 MiB)`);
  const archives = join(state, 'packages');
  await mkdir(archives);
  await withPatience(report, 'fetching ClamAV', () => runOrThrow('apt-get', ['download', ...packages], { env, cwd: archives }));
  for (const archive of await readdir(archives)) await runOrThrow('dpkg-deb', ['-x', join(archives, archive), folder]);
  await rm(state, { recursive: true });
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

async function candidateVersion(env: NodeJS.ProcessEnv): Promise<string> {
  const policy = await runOrThrow('apt-cache', ['policy', 'clamav-daemon'], { env });
  const version = parseVersion(/Candidate: (\S+)/.exec(policy)?.[1] ?? '');
  return version === null ? '' : formatVersion(version);
}

/** Every library that the programs need, down to the last: what is missing would silently come from the machine. */
async function librariesOf(env: NodeJS.ProcessEnv): Promise<string[]> {
  const direct = await dependencies(PROGRAMS, [], env);
  const roots = direct.filter((name) => name.startsWith('lib') || name === 'zlib1g');
  const all = new Set([...roots, ...(await dependencies(roots, ['--recurse'], env))]);
  return [...all].filter((name) => !LEFT_OUT.test(name) && !PROGRAMS.includes(name));
}

async function dependencies(of: readonly string[], options: readonly string[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const text = await runOrThrow('apt-cache', ['depends', ...options, ...STRONG_DEPENDENCIES_ONLY, ...of], { env });
  // "  Depends: name" and " |Depends: name" (first of alternatives); "<name>" is virtual and has no package of its own.
  const names = [...text.matchAll(/^[ |]+(?:Pre)?Depends: ([a-z0-9][^\s:]*)/gm)].map((match) => match[1] ?? '');
  return [...new Set(names)];
}
