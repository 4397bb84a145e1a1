/** `npm run test:compose`: compose.yaml on a real Docker engine, from the images to the last volume. Not part of `npm test`. */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type PocketBase from 'pocketbase';
import { eventually } from '../test/harness/eventually.ts';
import { makeBaseImages } from './compose/base-images.ts';
import { login, uploadAndExpectVerdicts } from './compose/client.ts';
import { Compose } from './compose/compose.ts';
import { missingForEngine, startEngine } from './compose/engine.ts';
import { expectCleanImage, expectConfined, expectNoBuildTools, expectPowerless } from './compose/hardening.ts';
import { expectReachesOnly, GREETING } from './compose/network.ts';
import { makeOutside } from './compose/outside.ts';
import { override, type ServiceName, services } from './compose/override.ts';
import { cacheRoot } from './parts/cache.ts';
import { obtainDockerCompose } from './parts/docker-compose.ts';
import { withPatience } from './parts/report.ts';
import { run, runOrThrow } from './parts/run.ts';
import { writeTestSignatures } from './test-signatures.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const email = 'admin@example.com';
const began = Date.now();
const report = (line: string) => console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(4)} s  ${line}`);
const counts = { passed: 0, failed: 0 };
const interrupted = new AbortController();

/** One thing that must be so; answers whether it is. After a Ctrl-C only what must `always` be done is. */
async function step(name: string, work: () => Promise<unknown>, always = false): Promise<boolean> {
  try {
    if (!always) interrupted.signal.throwIfAborted();
    await work();
    counts.passed += 1;
    report(`ok    ${name}`);
    return true;
  } catch (error) {
    counts.failed += 1;
    report(`FAIL  ${name}: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}

interface Stack {
  readonly compose: Compose;
  readonly url: string;
  readonly passwordFile: string;
  readonly secrets: readonly string[];
}

/** The files that a reader of the README would have: secrets by our own script, and what the test puts over compose.yaml. */
async function prepare(compose: Compose, folder: string): Promise<Stack> {
  const port = await freePort();
  await mkdir(join(folder, 'deploy'));
  await cp(join(root, 'deploy/make-secrets.sh'), join(folder, 'deploy/make-secrets.sh'));
  await runOrThrow('sh', [join(folder, 'deploy/make-secrets.sh')]);
  await writeTestSignatures(join(folder, 'signatures'));
  const file = join(folder, 'override.json');
  await writeFile(file, JSON.stringify(override(join(folder, 'secrets'), join(folder, 'signatures'))));
  const names = ['superuser_password', 'av_notify_secret', 'av_history_key'];
  return {
    compose: compose.stack([join(root, 'compose.yaml'), file], {
      COMPOSE_PROJECT_NAME: `pocketwarden-test-${process.pid}`,
      PB_PORT: String(port),
    }),
    url: `http://127.0.0.1:${port}`,
    passwordFile: join(folder, 'secrets/superuser_password'),
    secrets: await Promise.all(names.map((name) => readFile(join(folder, 'secrets', name), 'utf8'))),
  };
}

async function bringUp({ compose }: Stack): Promise<boolean> {
  const built = await step('both images are built', () => withPatience(report, 'building', () => build(compose)));
  if (!built) return false;
  const signatures = () => compose.run('--profile', 'setup', 'run', '--rm', '--no-deps', 'test-signatures');
  const up = () => withPatience(report, 'starting', () => compose.run('up', '--detach', '--no-build', '--wait', '--wait-timeout', '240'));
  return (
    (await step('the test signatures are in their volume', signatures)) && (await step('everything comes up and says it is healthy', up))
  );
}

/** What a build step printed is the reason of its failure, so there is more of it than elsewhere. */
async function build(compose: Compose): Promise<void> {
  const { code, stdout, stderr } = await compose.try('build', 'pocketbase', 'scanner');
  if (code !== 0)
    throw new Error(`docker compose build ended with ${code}:\n${`${stdout}${stderr}`.trim().split('\n').slice(-40).join('\n')}`);
}

async function inspectAll({ compose, secrets }: Stack): Promise<void> {
  for (const service of services) {
    await step(`${service} is confined`, () => expectConfined(compose, service, secrets));
    await step(`${service} is not root and can write nothing of its own`, () => expectPowerless(compose, service));
  }
  for (const service of ['pocketbase', 'scanner'] as const)
    await step(`${service} holds no build tools`, () => expectNoBuildTools(compose, service));
  const images = (await compose.run('config', '--images')).split('\n').filter((image) => image.startsWith('pocketwarden/'));
  await step('there are two images of ours', async () => {
    if (images.length !== 2) throw new Error(images.join(', '));
  });
  for (const image of images)
    await step(`${image} has a numeric user and holds no secret`, () => expectCleanImage(compose, image, secrets));
}

/** With a listener on this machine, which a container that should have no way out must not reach either. */
async function tryWaysOut({ compose }: Stack): Promise<void> {
  const outside = await makeOutside();
  const listener = createServer((socket) => socket.on('error', () => {}).end(GREETING));
  await new Promise<void>((resolve) => listener.listen(0, '0.0.0.0', resolve));
  const address = listener.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  try {
    for (const service of services)
      await step(`${service} reaches whom it must and nobody else`, () => expectReachesOnly(compose, service, outside, port));
  } finally {
    listener.close();
    await outside.remove();
  }
}

async function survive(stack: Stack, client: PocketBase, service: ServiceName, how: 'restart' | 'kill'): Promise<void> {
  const { compose } = stack;
  if (how === 'restart') await compose.run('restart', service);
  else await killMainProcess(compose, service);
  await eventually(`all of it is healthy after the ${how} of ${service}`, () => allHealthy(compose), 120_000);
  // The token is the one from before: the superuser must not have been set anew.
  await client.collection('_superusers').authRefresh();
  await uploadAndExpectVerdicts(client);
}

/** From outside, as a crash would; `docker kill` counts as a wish and would not be answered by a new start. */
async function killMainProcess(compose: Compose, service: ServiceName): Promise<void> {
  const container = await compose.containerOf(service);
  const ask = (format: string) => runOrThrow('docker', ['inspect', `--format=${format}`, container], { env: compose.env });
  const startedAt = await ask('{{.State.StartedAt}}');
  process.kill(Number(await ask('{{.State.Pid}}')), 'SIGKILL');
  await eventually(`${service} was started again`, async () => (await ask('{{.State.StartedAt}}')) !== startedAt, 60_000);
}

async function allHealthy(compose: Compose): Promise<boolean> {
  const lines = (await compose.run('ps', '--format', 'json')).trim().split('\n');
  const states = lines.map((line) => JSON.parse(line) as { Health: string });
  return states.length === services.length && states.every(({ Health }) => Health === 'healthy');
}

async function runDemo({ url, passwordFile }: Stack): Promise<void> {
  const env = { ...process.env, POCKETBASE_URL: url, POCKETBASE_SUPERUSER_EMAIL: email, POCKETBASE_SUPERUSER_PASSWORD_FILE: passwordFile };
  const { code, stdout, stderr } = await run(process.execPath, [join(root, 'scripts/demo.ts')], { env, cwd: root, timeoutMs: 360_000 });
  console.log(stdout.replace(/^/gm, '        '));
  if (code !== 0) throw new Error(`it ended with ${code}: ${stderr.trim()}`);
}

async function takeDown({ compose }: Stack): Promise<void> {
  await compose.run('--profile', '*', 'down', '--volumes', '--remove-orphans', '--timeout', '30');
  const project = `label=com.docker.compose.project=${compose.env.COMPOSE_PROJECT_NAME}`;
  for (const kind of [
    ['ps', '--all'],
    ['volume', 'ls'],
    ['network', 'ls'],
  ]) {
    const left = await runOrThrow('docker', [...kind, '--quiet', `--filter=${project}`], { env: compose.env });
    if (left.trim() !== '') throw new Error(`docker ${kind[0]} still lists ${left.trim()}`);
  }
}

async function testStack(stack: Stack): Promise<void> {
  try {
    if (!(await bringUp(stack))) return;
    await inspectAll(stack);
    await tryWaysOut(stack);
    await step('npm run demo', () => runDemo(stack));
    const client = await login(stack.url, email, await readFile(stack.passwordFile, 'utf8'));
    for (const service of services) await step(`a restart of ${service} loses nothing`, () => survive(stack, client, service, 'restart'));
    for (const service of services) await step(`a crash of ${service} loses nothing`, () => survive(stack, client, service, 'kill'));
  } finally {
    if (counts.failed > 0 && !interrupted.signal.aborted) console.log((await stack.compose.try('logs', '--no-color', '--tail=60')).stdout);
    await step('it is taken down with its volumes', () => takeDown(stack), true);
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function main(): Promise<void> {
  const missing = await missingForEngine();
  if (missing !== null) throw new Error(missing);
  await mkdir(cacheRoot(), { recursive: true });
  const folder = await mkdtemp(join(cacheRoot(), 'test-compose-'));
  const bin = await obtainDockerCompose(report);
  const engine = await startEngine(folder, report);
  try {
    const compose = new Compose(bin, engine.env);
    if (await step('base images are made on this machine', () => makeBaseImages(compose, folder, report)))
      await testStack(await prepare(compose, folder));
  } finally {
    await engine.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

// A Ctrl-C takes everything down as well, instead of ending us at once.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort(new Error(`ended by ${signal}`)));

try {
  await main();
} catch (error) {
  counts.failed += 1;
  console.error(error instanceof Error ? error.message : String(error));
}
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed === 0 ? 0 : 1;
