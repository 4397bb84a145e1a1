/** `npm run test:compose`: compose.yaml on a real Docker engine, from the images to the last volume. Not part of `npm test`. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type PocketBase from 'pocketbase';
import { eventually } from '../test/harness/eventually.ts';
import { makeBaseImages } from './compose/base-images.ts';
import { login, uploadAndExpectVerdicts } from './compose/client.ts';
import { Compose } from './compose/compose.ts';
import { type ConsoleSession, expectNoForgery, expectOverview, expectTrivyDbPages, logInAtConsole } from './compose/console.ts';
import { missingForEngine, startEngine } from './compose/engine.ts';
import { expectCleanImage, expectConfined, expectNoBuildTools, expectPowerless } from './compose/hardening.ts';
import { expectReachesOnly, GREETING } from './compose/network.ts';
import { makeOutside } from './compose/outside.ts';
import { type ServiceName, services } from './compose/override.ts';
import { releaseAndExpectRecord } from './compose/release.ts';
import { prepareStack, type Stack } from './compose/stack.ts';
import { crashDuring, interrupt } from './compose/survival.ts';
import { scanFromHere, scanInContainer, TrivyDb } from './compose/trivy-db.ts';
import { cacheRoot } from './parts/cache.ts';
import { obtainDockerCompose } from './parts/docker-compose.ts';
import { withPatience } from './parts/report.ts';
import { run, runOrThrow } from './parts/run.ts';

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

/** By the command of the README, on an engine that has none of the images. */
async function bringUp({ compose }: Stack): Promise<boolean> {
  const fill = (service: string) => compose.run('run', '--rm', '--no-deps', service);
  const steps = {
    'the test signatures are in their volume': () => fill('test-signatures'),
    'one command builds the images and brings everything up, healthy': () =>
      withPatience(report, 'building and starting', () => up(compose)),
    'the test lists are in their volume': () => fill('test-lists'),
  };
  for (const [name, work] of Object.entries(steps)) if (!(await step(name, work))) return false;
  return true;
}

/** What a build step printed is the reason of its failure, so there is more of it than elsewhere. */
async function up(compose: Compose): Promise<void> {
  const { code, stdout, stderr } = await compose.try('up', '--build', '--detach', '--wait', '--wait-timeout', '240');
  if (code !== 0)
    throw new Error(`docker compose up ended with ${code}:\n${`${stdout}${stderr}`.trim().split('\n').slice(-40).join('\n')}`);
}

async function inspectAll({ compose, secrets: byName }: Stack): Promise<void> {
  const secrets = Object.values(byName);
  for (const service of services) {
    await step(`${service} is confined`, () => expectConfined(compose, service, secrets));
    await step(`${service} is not root and can write nothing of its own`, () => expectPowerless(compose, service));
  }
  for (const service of ['pocketbase', 'scanner', 'console'] as const)
    await step(`${service} holds no build tools`, () => expectNoBuildTools(compose, service));
  await step('trivy-db holds no build tools but git', () => expectNoBuildTools(compose, 'trivy-db', ['git']));
  const all = (await compose.run('config', '--images')).split('\n').filter((image) => image.startsWith('pocketwarden/'));
  const images = [...new Set(all)];
  await step('there are three images of ours', async () => {
    if (images.length !== 3) throw new Error(images.join(', '));
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

interface Users {
  readonly client: PocketBase;
  readonly session: ConsoleSession;
  readonly trivyDb: TrivyDb;
}

async function useConsoleAndTrivyDb(stack: Stack, { client, session, trivyDb }: Users): Promise<void> {
  const { compose, rootfs, trivy, home } = stack;
  await step('a form with a forged token is refused', () => expectNoForgery(session));
  await step('the console sees its parts', () =>
    expectOverview(session, [/Scanner .*engine clamd\S* up/, /Trivy DB .*nothing published yet/]),
  );
  await step('the registry has nothing yet, and says so as Trivy wants to hear it', () => trivyDb.expectNothingYet());
  let id = '';
  await step('a build is fetched, built and published', async () => {
    id = await trivyDb.start();
    await trivyDb.published(id);
  });
  await step('the console sees the Trivy DB', () => expectOverview(session, [/Trivy DB .*published database of/]));
  await step('the console shows it and hands it out', () => expectTrivyDbPages(stack.console, session));
  if (trivy === null) report('left out: what needs a Trivy, of which there is none on this machine; npm run test:trivy builds one');
  else {
    await step('it was published only after a Trivy had found the canary with it', () => trivyDb.expectCanaryFound(id));
    await step('a Trivy in a container finds what is in the database', () => scanInContainer(compose));
    await step('a Trivy of this machine finds it too', () => scanFromHere(trivy, stack.trivyDb, rootfs, home));
  }
  await step('a crash in the middle of a build is not in the way of the next', () => crashBuild(stack, trivyDb));
  await step('a superuser releases a build at the console, on record', () => releaseAndExpectRecord(client, session, email));
}

/** What was published before stays published. */
async function crashBuild({ compose }: Stack, trivyDb: TrivyDb): Promise<void> {
  const before = await trivyDb.publishedId();
  const id = await crashDuring(compose, 'trivy-db', () => trivyDb.start());
  const { outcome } = await eventually('the build that crashed is known for what it is', () => trivyDb.ended(id), 60_000);
  if (outcome !== 'died') throw new Error(`the build ${outcome} although the builder was killed`);
  const after = await trivyDb.publishedId();
  if (after !== before) throw new Error(`${after} is published, not ${before}`);
  await trivyDb.published(await trivyDb.start());
}

async function survive(
  { compose }: Stack,
  { client, session, trivyDb }: Users,
  service: ServiceName,
  how: 'restart' | 'kill',
): Promise<void> {
  const published = await trivyDb.publishedId();
  await interrupt(compose, service, how);
  // Token and session are those from before: the superuser must not have been set anew, nor the console have forgotten its secret.
  await client.collection('_superusers').authRefresh();
  const { status } = await session.open('/');
  if (status !== 200) throw new Error(`the session of the console is answered ${status}`);
  if (published === null || (await trivyDb.publishedId()) !== published) throw new Error(`${published} is no longer published`);
  await uploadAndExpectVerdicts(client);
}

async function runDemo({ pocketbase, passwordFile }: Stack): Promise<void> {
  const env = {
    ...process.env,
    POCKETBASE_URL: pocketbase,
    POCKETBASE_SUPERUSER_EMAIL: email,
    POCKETBASE_SUPERUSER_PASSWORD_FILE: passwordFile,
  };
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

/** Null when the login at the console failed. */
async function comeIn(stack: Stack): Promise<Users | null> {
  const { superuser_password: password = '', operator_token: token = '' } = stack.secrets;
  const client = await login(stack.pocketbase, email, password);
  let session: ConsoleSession | null = null;
  await step('a superuser logs in at the console', async () => {
    session = await logInAtConsole(stack.console, email, password);
  });
  return session === null ? null : { client, session, trivyDb: new TrivyDb(stack.trivyDb, token) };
}

async function testStack(stack: Stack): Promise<void> {
  try {
    if (!(await bringUp(stack))) return;
    await inspectAll(stack);
    await tryWaysOut(stack);
    await step('npm run demo', () => runDemo(stack));
    const users = await comeIn(stack);
    if (users === null) return;
    await useConsoleAndTrivyDb(stack, users);
    for (const how of ['restart', 'kill'] as const) {
      const word = { restart: 'restart', kill: 'crash' }[how];
      for (const service of services) await step(`a ${word} of ${service} loses nothing`, () => survive(stack, users, service, how));
    }
  } finally {
    if (counts.failed > 0 && !interrupted.signal.aborted) console.log((await stack.compose.try('logs', '--no-color', '--tail=60')).stdout);
    await step('it is taken down with its volumes', () => takeDown(stack), true);
  }
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
      await testStack(await prepareStack(compose, folder, report));
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
