/** `npm run demo`: four builds on their way from upload to verdict, and what the gate says to somebody anonymous. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Case, complaints, demoCases } from './demo/cases.ts';
import { type Build, type Check, DemoClient, type GateAnswer } from './demo/client.ts';
import { HELP, readDemoSettings } from './demo/settings.ts';
import { LiveTable, type Row } from './demo/table.ts';
import { paint } from './start/log.ts';

const POLL_MS = 100;
const SETTLED = ['clean', 'infected', 'error'];

interface Sent {
  readonly of: Case;
  readonly build: Build;
  readonly before: GateAnswer;
  readonly openBefore: boolean;
  readonly uploadedAt: number;
  check: Check | null;
  settledAt: number | null;
}

async function send(client: DemoClient, of: Case): Promise<Sent> {
  const build = await client.upload(of.payload);
  const uploadedAt = performance.now();
  const before = await client.downloadAnonymously(build);
  const [check] = await client.checks([build]);
  return { of, build, before, openBefore: check?.open === true, uploadedAt, check: check ?? null, settledAt: null };
}

async function refresh(client: DemoClient, sent: readonly Sent[]): Promise<void> {
  if (sent.length === 0) return;
  const checks = new Map((await client.checks(sent.map(({ build }) => build))).map((check) => [check.build, check]));
  for (const one of sent) {
    one.check = checks.get(one.build.id) ?? one.check;
    if (one.settledAt === null && SETTLED.includes(one.check?.status ?? '')) one.settledAt = performance.now();
  }
}

function rowOf(of: Case, sent: Sent | undefined): Row {
  if (sent === undefined) return { title: of.title, build: '', status: 'uploading', finding: '', seconds: null };
  const { build, check, settledAt, uploadedAt } = sent;
  const finding = check?.virus_name || check?.reason || '';
  return {
    title: of.title,
    build: build.id,
    status: check?.status ?? 'unknown',
    finding,
    seconds: ((settledAt ?? performance.now()) - uploadedAt) / 1000,
  };
}

/** Uploads everything while the table follows; resolves when every check is settled or the time is over. */
async function follow(client: DemoClient, cases: readonly Case[], limitMs: number): Promise<Sent[]> {
  const table = new LiveTable((text) => void process.stdout.write(text), process.stdout.isTTY === true);
  const sent: Sent[] = [];
  const uploads = (async () => {
    for (const one of cases) sent.push(await send(client, one));
  })();
  const failed = uploads.then(
    () => null,
    (error: Error) => error,
  );
  const rows = () =>
    cases.map((one) =>
      rowOf(
        one,
        sent.find(({ of }) => of === one),
      ),
    );
  for (const deadline = performance.now() + limitMs; performance.now() < deadline; await sleep(POLL_MS)) {
    await refresh(client, sent);
    table.show(rows());
    const problem = await Promise.race([failed, sleep(0, 'uploading' as const)]);
    if (problem instanceof Error) throw problem;
    if (problem === null && sent.every(({ settledAt }) => settledAt !== null)) break;
  }
  return sent;
}

async function judge(client: DemoClient, cases: readonly Case[], sent: readonly Sent[]): Promise<boolean> {
  console.log('\nAnonymous downloads: before the verdict, and after it');
  let good = true;
  for (const one of cases) {
    const course = sent.find(({ of }) => of === one);
    if (course?.check == null || course.settledAt === null) {
      console.log(paint('red', `  ${one.title}: no verdict in time`));
      good = false;
      continue;
    }
    const after = await client.downloadAnonymously(course.build);
    const problems = complaints(one, { before: course.before, openBefore: course.openBefore, check: course.check, after });
    console.log(`  ${one.title.padEnd(16)}  ${words(course.before).padEnd(28)} → ${words(after)}`);
    for (const problem of problems) console.log(paint('red', `    wrong: ${problem}`));
    good &&= problems.length === 0;
  }
  return good;
}

function words({ status, code, bytes }: GateAnswer): string {
  return status === 200 ? `200 (${bytes} bytes)` : `${status} ${code}`;
}

async function demo(): Promise<boolean> {
  const settings = readDemoSettings(process.env);
  const client = await DemoClient.login(settings.url, settings.email, settings.password);
  console.log(`Four builds go to ${settings.url}\n`);
  const cases = demoCases();
  const sent = await follow(client, cases, Number(process.env.DEMO_SECONDS || 300) * 1000);
  const good = await judge(client, cases, sent);
  if (sent.some(({ check }) => check?.engine?.signatures === 'test'))
    console.log(paint('red', '\nThe engine has the TEST signatures: it finds EICAR and nothing else.'));
  const large = sent.at(-1);
  if (large !== undefined && large.of === cases.at(-1)) await client.remove(large.build);
  console.log(
    good
      ? paint('green', '\nAll went as it must. The builds stay for a look at the dashboard, but for the large one.')
      : paint('red', '\nSomething went wrong.'),
  );
  return good;
}

if (process.argv.slice(2).some((argument) => argument === '--help' || argument === '-h')) console.log(HELP);
else {
  try {
    process.exitCode = (await demo()) ? 0 : 1;
  } catch (error) {
    console.error(paint('red', error instanceof Error ? error.message : String(error)));
    process.exitCode = 1;
  }
  // An upload that never ends must not outlast the time limit.
  process.exit();
}
