/** The registry as crane and skopeo see it, over a real connection. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { obtainGoTool } from '../../scripts/parts/go-tools.ts';
import { run } from '../../scripts/parts/run.ts';
import { obtainSkopeo, type Skopeo } from '../../scripts/parts/skopeo.ts';
import { createApp } from '../../sidecar/http/app.ts';
import { roleReadiness } from '../../sidecar/http/readiness.ts';
import { type HttpServer, listen } from '../../sidecar/http/server.ts';
import { FakeBuilder, fakePublication } from '../../sidecar/trivy-db/fakes.ts';
import type { Publication } from '../../sidecar/trivy-db/model.ts';
import { digestOf, packArchive } from '../../sidecar/trivy-db/pack.ts';
import { createRegistryRoutes, type RegistryParts } from '../../sidecar/trivy-db/registry.ts';

const report = () => {};
const config = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a';

let folder: string;
let craneBin: string;
let skopeo: Skopeo;
let current: Publication;
let older: Publication;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trivy-db-registry-'));
  craneBin = await obtainGoTool('crane', report);
  skopeo = await obtainSkopeo(report);
  older = await packed('older', Buffer.alloc(100_000, 'older'));
  current = await packed('current', Buffer.alloc(3_000_000, 'current'));
}, 600_000);
afterAll(() => rm(folder, { recursive: true }));

async function packed(name: string, database: Buffer): Promise<Publication> {
  const [file, archive] = [join(folder, `${name}.db`), join(folder, `${name}.tar.gz`)];
  await writeFile(file, database);
  await packArchive(file, Buffer.from('{"Version":2}'), archive, () => {}, new AbortController().signal);
  return fakePublication(archive, await readFile(archive), { databaseBytes: database.length });
}

let server: HttpServer;
let builder: FakeBuilder;
let home: string;
let pulls: string[];
async function serve(auth: RegistryParts['auth']) {
  const routes = createRegistryRoutes({ builder, auth, pulled: (agent) => pulls.push(agent) });
  const metrics = { contentType: 'text/plain', metrics: async () => '' };
  const app = createApp({ readiness: () => roleReadiness({}), metrics, metricsToken: null, routes: [routes], requestFailed() {} });
  server = await listen(app, '127.0.0.1', 0);
}
beforeEach(async () => {
  builder = new FakeBuilder();
  builder.publication = current;
  builder.kept = [current, older];
  pulls = [];
  home = await mkdtemp(join(folder, 'home-'));
});
afterEach(() => server.close());

const image = (reference = ':2') => `127.0.0.1:${server.port}/trivy-db${reference}`;
const env = () => ({ ...process.env, HOME: home, DOCKER_CONFIG: home, XDG_RUNTIME_DIR: home, REGISTRY_AUTH_FILE: join(home, 'auth.json') });
const crane = (...args: string[]) => run(craneBin, [...args, '--insecure'], { env: env(), timeoutMs: 60_000 });
const copy = (...args: string[]) =>
  run(skopeo.bin, ['copy', '--insecure-policy', '--src-tls-verify=false', '--preserve-digests', ...args], {
    env: { ...env(), ...skopeo.env },
    timeoutMs: 60_000,
  });

describe('crane', () => {
  beforeEach(() => serve(null));

  it('reads manifest, digest and tags', async () => {
    expect((await crane('manifest', image())).stdout).toBe(current.manifest.toString());
    expect((await crane('digest', image())).stdout.trim()).toBe(current.digest);
    expect((await crane('digest', image(':latest'))).stdout.trim()).toBe(current.digest);
    expect((await crane('manifest', image(`@${older.digest}`))).stdout).toBe(older.manifest.toString());
    expect((await crane('ls', image(''))).stdout.trim().split('\n')).toEqual(['2', 'latest']);
    expect((await crane('blob', image(`@${config}`))).stdout).toBe('{}');
    // It is no Trivy.
    expect(pulls).toEqual([]);
  });

  it('finds the whole artifact valid', async () => {
    const { code, stdout } = await crane('validate', '--remote', image());
    expect([code, stdout]).toEqual([0, expect.stringContaining('PASS')]);
    const damaged = join(home, 'damaged.tar.gz');
    await writeFile(damaged, (await readFile(current.archive.path)).fill(0, 100, 110));
    builder.publication = { ...current, archive: { ...current.archive, path: damaged } };
    expect((await crane('validate', '--remote', image())).code).toBe(1);
  });

  it('pulls it as a layout, the layer byte for byte', async () => {
    for (const of of [current, older]) {
      const layout = join(home, of.archive.size.toString());
      expect((await crane('pull', '--format', 'oci', image(`@${of.digest}`), layout)).code).toBe(0);
      const layer = await readFile(join(layout, 'blobs', 'sha256', of.archive.digest.slice('sha256:'.length)));
      expect(digestOf(layer)).toBe(of.archive.digest);
    }
  });

  it('may not push', async () => {
    const layout = join(home, 'layout');
    await crane('pull', '--format', 'oci', image(), layout);
    const pushed = await crane('push', layout, image(':mine'));
    expect([pushed.code, pushed.stderr]).toEqual([1, expect.stringContaining('UNSUPPORTED')]);
  });

  it('is told what there is not', async () => {
    expect((await crane('manifest', image(':3'))).stderr).toContain('MANIFEST_UNKNOWN');
    expect((await crane('manifest', `127.0.0.1:${server.port}/another:2`)).stderr).toContain('NAME_UNKNOWN');
    builder.publication = null;
    const early = await crane('manifest', image());
    expect([early.code, early.stderr]).toEqual([1, expect.stringMatching(/UNAVAILABLE|503/)]);
  });
});

describe('skopeo', () => {
  it('copies the artifact with its digests', async () => {
    await serve(null);
    const target = join(home, 'copy');
    const copied = await copy(`docker://${image()}`, `dir:${target}`);
    expect([copied.code, copied.stderr]).toEqual([0, '']);
    const files = await readdir(target);
    expect(await readFile(join(target, 'manifest.json'))).toEqual(current.manifest);
    const blobs = await Promise.all(
      files.filter((name) => /^[0-9a-f]{64}$/.test(name)).map(async (name) => digestOf(await readFile(join(target, name)))),
    );
    expect(blobs.sort()).toEqual([config, current.archive.digest].sort());
  });

  it('needs the password where there is one', async () => {
    await serve({ username: 'trivy', password: 'a pass:word' });
    const source = `docker://${image()}`;
    const refused = await copy(source, `dir:${join(home, 'without')}`);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/unauthorized|authentication required/i)]);
    expect((await copy('--src-creds', 'trivy:wrong', source, `dir:${join(home, 'wrong')}`)).code).toBe(1);
    expect((await copy('--src-creds', 'trivy:a pass:word', source, `dir:${join(home, 'with')}`)).code).toBe(0);
  });
});
