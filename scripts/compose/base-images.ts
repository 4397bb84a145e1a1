/** Stand-ins for the images of registries, made on this machine: a Debian, a Node with npm on it, and a clamd from Debian's packages. */
import { copyFile, cp, mkdir, readdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { cacheRoot, makeInCache } from '../parts/cache.ts';
import { obtainGoTool } from '../parts/go-tools.ts';
import { obtainPocketBase } from '../parts/pocketbase.ts';
import { type Report, withPatience } from '../parts/report.ts';
import { findProgram, run, runOrThrow } from '../parts/run.ts';
import { obtainTrivy } from '../parts/trivy.ts';
import type { Compose } from './compose.ts';

const MIRROR = 'http://deb.debian.org';
const RELEASE = 'bookworm';

export const images = {
  debian: 'pocketwarden-lab/debian:12',
  node: 'pocketwarden-lab/node:24',
  clamd: 'pocketwarden-lab/clamd:1.4',
  pocketbase: 'pocketwarden-lab/pocketbase-binary:0.40',
  trivyTools: 'pocketwarden-lab/trivy-tools:0.74',
} as const;

/**
 * Makes all of `images` in the engine behind `compose`; the Debian is kept in the cache. `folder` is for build contexts. There is a
 * Trivy in them only where the cache has one.
 */
export async function makeBaseImages(compose: Compose, folder: string, report: Report): Promise<void> {
  const tar = await debianArchive(report);
  await runOrThrow('docker', ['import', tar, images.debian], { env: compose.env });
  await nodeContext(join(folder, 'node'));
  await pocketbaseContext(join(folder, 'pocketbase'), report);
  await trivyToolsContext(join(folder, 'trivy-tools'), report);
  await mkdir(join(folder, 'clamd'));
  const build = (context: string, image: string, lines: string[]) => ({
    image,
    build: { context: join(folder, context), network: 'host', dockerfile_inline: lines.join('\n') },
  });
  const services = {
    node: build('node', images.node, [
      `FROM ${images.debian}`,
      'COPY node /usr/local/bin/node',
      'COPY npm /usr/local/lib/node_modules/npm',
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm',
      'COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt',
      'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt',
    ]),
    clamd: build('clamd', images.clamd, [
      `FROM ${images.debian}`,
      `RUN echo 'deb ${MIRROR}/debian ${RELEASE} main\\ndeb ${MIRROR}/debian ${RELEASE}-updates main\\ndeb ${MIRROR}/debian-security ${RELEASE}-security main' > /etc/apt/sources.list`,
      'RUN apt-get update && apt-get install -y --no-install-recommends clamav-daemon clamav-freshclam clamdscan && rm -rf /var/lib/apt/lists/* /var/lib/clamav/*',
    ]),
    pocketbase: build('pocketbase', images.pocketbase, ['FROM scratch', 'COPY pocketbase /pocketbase']),
    'trivy-tools': build('trivy-tools', images.trivyTools, ['FROM scratch', 'COPY . /tools/']),
  };
  const file = join(folder, 'images.json');
  await writeFile(file, JSON.stringify({ name: 'pocketwarden-lab', services }));
  await withPatience(report, 'building the base images', () => compose.at(file, ['build']));
}

async function debianArchive(report: Report): Promise<string> {
  const archive = 'root.tar';
  const complete = async (folder: string) => {
    const found = await stat(join(folder, archive)).catch(() => null);
    return found !== null && found.size > 50_000_000 ? join(folder, archive) : null;
  };
  const make = async (folder: string) => {
    report('making a Debian base image with debootstrap (a minute or two)');
    const root = join(folder, 'root');
    const args = ['--variant=minbase', '--include=ca-certificates', RELEASE, root, `${MIRROR}/debian`];
    const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
    await withPatience(report, 'debootstrap', () => runOrThrow('debootstrap', args, { env }));
    await rm(join(root, 'var/cache/apt/archives'), { recursive: true, force: true });
    await runOrThrow('tar', ['-C', root, '-cf', join(folder, archive), '.']);
    await rm(root, { recursive: true });
  };
  return makeInCache(cacheRoot(), { name: `debian-${RELEASE}-${process.arch}`, check: complete, make }, report);
}

async function nodeContext(folder: string): Promise<void> {
  await mkdir(folder);
  await copyFile(await realpath(process.execPath), join(folder, 'node'));
  await cp(await npmFolder(), join(folder, 'npm'), { recursive: true });
  const authorities = process.env.NODE_EXTRA_CA_CERTS ?? '/etc/ssl/certs/ca-certificates.crt';
  await copyFile(authorities, join(folder, 'ca-certificates.crt')).catch(() => writeFile(join(folder, 'ca-certificates.crt'), ''));
}

/** The npm that runs us, else the one on PATH. */
async function npmFolder(): Promise<string> {
  const running = process.env.npm_execpath;
  const program = running?.endsWith('npm-cli.js') ? running : await findProgram('npm');
  if (program === null) throw new Error('npm is missing: install it together with Node 20 or newer.');
  return dirname(dirname(await realpath(program)));
}

async function pocketbaseContext(folder: string, report: Report): Promise<void> {
  await mkdir(folder);
  const { bin } = await obtainPocketBase(report);
  const linked = await run('ldd', [bin]);
  if (linked.code === 0 && !/statically linked/.test(linked.stdout))
    throw new Error(`${bin} is not a static program and would not run in an image.`);
  await copyFile(bin, join(folder, 'pocketbase'));
}

/** As scripts/fetch-trivy-tools.ts lays them out, without building them anew. */
async function trivyToolsContext(folder: string, report: Report): Promise<void> {
  await mkdir(folder);
  for (const tool of ['trivy-db', 'bbolt'] as const) {
    const bin = await obtainGoTool(tool, report);
    const isPart = (name: string) => name === basename(bin) || name.startsWith(`${basename(bin)}.`);
    for (const name of (await readdir(dirname(bin))).filter(isPart)) await cp(join(dirname(bin), name), join(folder, name));
  }
  const trivy = await obtainTrivy(report, { build: false });
  if (trivy !== null) await copyFile(trivy, join(folder, 'trivy'));
}
