/** compose.yaml, the Dockerfile and their files: read by a real docker-compose, which needs no engine for that, and by our own rules. */
import { access, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clamdConf } from '../../scripts/clamd-conf.ts';
import { obtainDockerCompose } from '../../scripts/parts/docker-compose.ts';
import { run, runOrThrow } from '../../scripts/parts/run.ts';
import { variableTable } from '../../sidecar/config.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string) => readFile(join(root, path), 'utf8');

interface Service {
  readonly image: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly secrets?: readonly { readonly source: string }[];
  readonly volumes?: readonly { readonly type: string; readonly source: string; readonly read_only?: boolean }[];
  readonly networks?: Readonly<Record<string, unknown>>;
  readonly ports?: readonly { readonly host_ip?: string }[];
  readonly [key: string]: unknown;
}

interface Model {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { internal?: boolean; driver_opts?: Record<string, string> }>>;
  readonly secrets: Readonly<Record<string, { file: string }>>;
}

let compose: string;
let model: Model;
let folder: string;

/** With an environment of its own, so that the machine's variables decide nothing. */
function config(args: string[], cwd = root) {
  return run(compose, [...args], { cwd, env: { PATH: process.env.PATH } });
}

beforeAll(async () => {
  compose = await obtainDockerCompose(() => {});
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-compose-'));
  const { stdout, stderr } = await config(['--profile', '*', 'config', '--format', 'json']);
  expect(stderr).toBe('');
  model = JSON.parse(stdout) as Model;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const eachService = () => Object.entries(model.services);

describe('compose.yaml', () => {
  it('is accepted by docker-compose without a warning: as it is, with each profile, and with all of them', async () => {
    const profiles = (await config(['--profile', '*', 'config', '--profiles'])).stdout.split('\n').filter((name) => name !== '');
    for (const selected of [[], ...profiles.map((name) => ['--profile', name]), ['--profile', '*']]) {
      expect(await config([...selected, 'config', '-q'])).toEqual({ code: 0, stdout: '', stderr: '' });
    }
  });

  it('starts the builder of the Trivy DB with its profile alone', async () => {
    const names = async (...args: string[]) => (await config([...args, 'config', '--services'])).stdout.trim().split('\n').sort();
    const always = ['clamd', 'console', 'freshclam', 'pocketbase', 'scanner'];
    expect(await names()).toEqual(always);
    expect(await names('--profile', 'trivy-db')).toEqual([...always, 'trivy-db']);
  });

  it('fetches no image that is ours from a registry', () => {
    const ours = eachService().filter(([, { image }]) => image.startsWith('pocketwarden/'));
    for (const [name, { build, pull_policy }] of ours) expect(build !== undefined || pull_policy === 'never', name).toBe(true);
  });

  it('pins every image to a whole version or a digest', async () => {
    for (const [name, { image }] of eachService()) expect(image, name).toMatch(/:\d+\.\d+\.\d+[^/]*$|@sha256:[0-9a-f]{64}$/);
    const { version } = JSON.parse(await read('package.json')) as { version: string };
    const ours = eachService().filter(([, { image }]) => image.startsWith('pocketwarden/'));
    expect(ours.length).toBeGreaterThan(0);
    for (const [name, { image }] of ours) expect(image.split(':')[1], name).toBe(version);
  });

  it('hands secrets over as files, and every one of them to somebody who reads it', () => {
    const used = new Set<string>();
    for (const [name, { environment = {}, secrets = [] }] of eachService()) {
      const granted = secrets.map(({ source }) => source);
      for (const source of granted) used.add(source);
      for (const [variable, value] of Object.entries(environment)) {
        if (!/PASSWORD|SECRET|KEY|TOKEN/.test(variable)) continue;
        expect(variable, name).toMatch(/_FILE$/);
        expect(
          granted.map((source) => `/run/secrets/${source}`),
          name,
        ).toContain(value);
      }
      expect(
        granted.every((source) => Object.values(environment).includes(`/run/secrets/${source}`)),
        name,
      ).toBe(true);
    }
    expect([...used].sort()).toEqual(Object.keys(model.secrets).sort());
  });

  it('has its secrets made by deploy/make-secrets.sh: unreadable to others of the machine, readable to the container, kept for ever', async () => {
    await mkdir(join(folder, 'deploy'));
    const script = join(folder, 'deploy/make-secrets.sh');
    await writeFile(script, await read('deploy/make-secrets.sh'));
    await runOrThrow('sh', [script]);
    const contents = new Map<string, string>();
    for (const { file } of Object.values(model.secrets)) {
      const made = join(folder, file.slice(root.length));
      const secret = await readFile(made, 'utf8');
      expect(secret).toMatch(/^[0-9a-f]{48}$/);
      expect((await stat(made)).mode & 0o777).toBe(0o444);
      contents.set(made, secret);
    }
    expect(new Set(contents.values()).size).toBe(contents.size);
    expect((await stat(join(folder, 'secrets'))).mode & 0o777).toBe(0o700);
    await runOrThrow('sh', [script]);
    for (const [file, secret] of contents) expect(await readFile(file, 'utf8')).toBe(secret);
  });

  it('mounts only files that are there, and only to be read', async () => {
    const mounts = eachService().flatMap(([, { volumes = [] }]) => volumes.filter(({ type }) => type === 'bind'));
    expect(mounts.length).toBeGreaterThan(0);
    for (const { source, read_only } of mounts) {
      await access(source);
      expect(read_only, source).toBe(true);
    }
  });

  it('gives every service limits, a health check and no rights', () => {
    for (const [name, service] of eachService()) {
      expect(service, name).toMatchObject({
        restart: 'unless-stopped',
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        mem_limit: expect.stringMatching(/^\d+$/),
        pids_limit: expect.any(Number),
        healthcheck: { test: expect.any(Array) },
        logging: { options: { 'max-size': expect.any(String) } },
      });
      expect(service['privileged'], name).toBeUndefined();
      expect(service['cap_add'], name).toBeUndefined();
      expect(JSON.stringify(service), name).not.toContain('docker.sock');
    }
  });

  it('lets out whoever fetches or tells, and the scanner only to PocketBase, clamd and the console', () => {
    const isClosed = (name: string) => model.networks[name]?.internal === true;
    const isOneWay = (name: string) => model.networks[name]?.driver_opts?.['com.docker.network.bridge.enable_ip_masquerade'] === 'false';
    const on = (network: string) => eachService().flatMap(([name, { networks = {} }]) => (network in networks ? [name] : []));
    const withWayOut = Object.keys(model.networks).filter((name) => !isClosed(name) && !isOneWay(name));
    expect(withWayOut.flatMap(on).sort()).toEqual(['console', 'freshclam', 'trivy-db']);
    const mine = Object.keys(model.services['scanner']?.networks ?? {});
    expect(mine.every(isClosed)).toBe(true);
    expect([...new Set(mine.flatMap(on))].sort()).toEqual(['clamd', 'console', 'pocketbase', 'scanner']);
    // Whoever only fetches is on no network with anybody who could be asked for something.
    expect(Object.keys(model.services['freshclam']?.networks ?? {}).flatMap(on)).toEqual(['freshclam']);
    const published = eachService().filter(([, service]) => service['ports'] !== undefined);
    expect(published.map(([name]) => name).sort()).toEqual(['console', 'pocketbase', 'trivy-db']);
    for (const [name, { ports }] of published) expect(ports, name).toEqual([expect.objectContaining({ host_ip: '127.0.0.1' })]);
  });

  it('gives clamd room for two sets of signatures', () => {
    expect(Number(model.services['clamd']?.['mem_limit'])).toBeGreaterThanOrEqual(4 * 1024 ** 3);
  });

  it('sets only variables that the sidecar knows, and does not trust test signatures', () => {
    const known = variableTable.flatMap(({ name, secret }) => (secret ? [name, `${name}_FILE`] : [name]));
    const ours = eachService().filter(([, { environment = {} }]) => 'ROLES' in environment);
    expect(ours.map(([, { environment }]) => environment?.['ROLES']).sort()).toEqual(['console', 'scanner', 'trivy-db']);
    for (const [name, { environment = {} }] of ours) {
      const names = Object.keys(environment);
      expect(
        names.filter((each) => !known.includes(each)),
        name,
      ).toEqual([]);
      expect(names, name).not.toContain('ALLOW_TEST_SIGNATURES');
    }
  });
});

describe('the clamd of compose.yaml', () => {
  it('has the configuration that everybody else has, but for the lines of its site', async () => {
    const [site, body] = await Promise.all([read('deploy/clamd/compose-site.conf'), read('deploy/clamd/clamd.conf')]);
    const generated = clamdConf(
      {
        port: 3310,
        address: '0.0.0.0',
        databaseDirectory: '/var/lib/clamav',
        temporaryDirectory: '/tmp',
        user: 'clamav',
        overrides: { LocalSocket: '/tmp/clamd.sock' },
      },
      body,
    );
    expect(effective(`${site}\n${body}`)).toEqual(effective(generated));
    const start = await read('deploy/clamd/start.sh');
    expect(start).toContain('cat /etc/pocketwarden/compose-site.conf /etc/pocketwarden/clamd.conf >');
  });
});

describe('the Dockerfile', () => {
  it('pins its base images, each replaceable, and the Node that everything else runs on', async () => {
    const text = await read('Dockerfile');
    const args = Object.fromEntries([...text.matchAll(/^ARG (\w+_IMAGE)=(\S+)$/gm)].map(([, name = '', image = '']) => [name, image]));
    const stages = [...text.matchAll(/^FROM \S+ AS (\S+)$/gm)].map(([, stage = '']) => stage);
    for (const [name, image] of Object.entries(args)) if (!stages.includes(image)) expect(image, name).toMatch(/:\d+\.\d+/);
    const { devDependencies } = JSON.parse(await read('package.json')) as { devDependencies: { node: string } };
    expect(args['NODE_IMAGE']).toContain(`:${devDependencies.node}-`);
    for (const [, from = ''] of text.matchAll(/^FROM (\S+)/gm)) {
      const argument = /^\$\{(\w+)\}$/.exec(from)?.[1];
      expect(argument === undefined ? stages.includes(from) : argument in args, from).toBe(true);
    }
  });
});

describe("the compose snippet of 'Add it to your PocketBase'", () => {
  it('is accepted beside a clone of this repository', async () => {
    const [, snippet = ''] = /```yaml\n([\s\S]*?)```/.exec(await read('README.md')) ?? [];
    expect(snippet).toContain('extends:');
    const host = join(folder, 'host');
    await mkdir(host);
    await symlink(root, join(host, 'pocketwarden'));
    await writeFile(join(host, 'compose.yaml'), snippet);
    expect(await config(['config', '-q'], host)).toEqual({ code: 0, stdout: '', stderr: '' });
    const merged = JSON.parse((await config(['config', '--format', 'json'], host)).stdout) as Model;
    expect(Object.keys(merged.services).sort()).toEqual(['clamd', 'console', 'freshclam', 'pocketbase', 'scanner']);
    expect(merged.services['pocketbase']?.environment).not.toHaveProperty('AV_CREATE_APP_BUILDS');
    for (const name of ['checks', 'engine', 'operate', 'internet'])
      expect(merged.networks[name]?.internal === true, name).toBe(model.networks[name]?.internal === true);
  });
});

/** What clamd makes of it: the first of two equal directives counts. */
function effective(conf: string): Record<string, string> {
  const directives = conf.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(directives.reverse().map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]));
}
