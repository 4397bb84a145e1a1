/**
 * The table of docs/locks.md, as a real PocketBase answers. `WRITE_DOCS=true` puts what was seen into the page; otherwise the page must
 * say it already.
 */
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type Client from 'pocketbase';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Build, download, type GateAnswer } from '../harness/builds.ts';
import { type PocketBaseOptions, preparePocketBase, type RunningPocketBase, servePocketBase } from '../harness/pocketbase.ts';

const PAGE = 'docs/locks.md';
const HEADING = '## Which lock holds when';
const png = new Uint8Array(
  Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64'),
);
const migrations = {
  '1800000000_host.js': `migrate((app) => {
    const file = (name, isProtected) => ({ name, type: 'file', maxSelect: 5, maxSize: 1000000, protected: isProtected })
    app.save(new Collection({ type: 'base', name: 'app_builds', listRule: '', viewRule: '', createRule: '', fields: [file('files', false), file('sealed', true)] }))
    const view = (name, id) => app.save(new Collection({ type: 'view', name, listRule: '', viewRule: '', viewQuery: 'SELECT ' + id + ' AS id, files FROM app_builds' }))
    view('same_ids', 'id')
    view('other_ids', "('v' || id)")
    app.save(new Collection({ type: 'auth', name: 'people' }))
  }, () => {})`,
};

interface Asker {
  readonly pb: RunningPocketBase;
  /** A user's, of no rights. */
  readonly token: string;
  readonly superuserToken: string;
  /** The builds as they are called now. */
  readonly name: string;
}
type Filled = Build & { sealed: string[] };
type Way = (asker: Asker, build: Filled) => Promise<GateAnswer>;
const ways: readonly (readonly [title: string, ask: Way])[] = [
  ['by name', ({ pb, name }, build) => download(pb, build, { collection: name })],
  ['by id', ({ pb }, build) => download(pb, build)],
  ['thumbnail', ({ pb }, build) => download(pb, build, { query: '?thumb=100x100' })],
  [
    'range, HEAD',
    async ({ pb }, build) =>
      worst(await Promise.all([{ headers: { Range: 'bytes=0-0' } }, { method: 'HEAD' }].map((how) => download(pb, build, how)))),
  ],
  ['file token of a user', ({ pb, token }, build) => download(pb, build, { query: `?token=${token}` })],
  [
    'protected field of the host',
    ({ pb, token }, { sealed, ...build }) => download(pb, { ...build, files: sealed }, { query: `?token=${token}` }),
  ],
  ['login of a superuser', ({ pb }, build) => download(pb, build, { headers: { Authorization: pb.client.authStore.token } })],
  ['file token of a superuser', ({ pb, superuserToken }, build) => download(pb, build, { query: `?token=${superuserToken}` })],
  ['view with the ids of builds', ({ pb }, build) => download(pb, build, { collection: 'same_ids' })],
  ['view with other ids', ({ pb }, build) => download(pb, { ...build, id: `v${build.id}` }, { collection: 'other_ids' })],
];

const hooksOf = (dir: string) => join(dir, 'pb_hooks');
const entry = (dir: string) => join(hooksOf(dir), 'av.pb.js');
interface Condition {
  readonly title: string;
  readonly spoil?: (dir: string) => Promise<unknown>;
  readonly env?: Record<string, string>;
  readonly watch?: true;
  /** With the server running. */
  readonly alter?: (pb: RunningPocketBase, shut: Build) => Promise<unknown>;
  readonly name?: string;
}
const views = ['same_ids', 'other_ids'];
const broken = (dir: string) => writeFile(entry(dir), 'onFileDownloadRequest((e) => {');
const withoutLibrary = (dir: string) => rm(join(hooksOf(dir), 'av/lib.js'));
const conditions: readonly Condition[] = [
  { title: 'hooks loaded' },
  { title: '`AV_GATE=monitor`', env: { AV_GATE: 'monitor' } },
  { title: '`AV_GATE=off`', env: { AV_GATE: 'off' } },
  { title: 'no hooks folder', spoil: (dir) => rm(hooksOf(dir), { recursive: true }) },
  { title: 'an empty hooks folder', spoil: (dir) => rm(hooksOf(dir), { recursive: true }).then(() => mkdir(hooksOf(dir))) },
  { title: 'a syntax error in `av.pb.js`', spoil: broken },
  { title: 'the same with `--hooksWatch=true`', spoil: broken, watch: true },
  { title: '`av/lib.js` is missing', spoil: withoutLibrary },
  { title: 'the same with `--hooksWatch=true`', spoil: withoutLibrary, watch: true },
  {
    title: 'hooks so old that they have no gate',
    spoil: async (dir) =>
      writeFile(entry(dir), (await readFile(entry(dir), 'utf8')).replace(/^onFileDownloadRequest\([\s\S]*?^\}\);$/m, '')),
  },
  { title: '`av/lib.js` is lost while PocketBase runs', alter: (pb) => withoutLibrary(pb.dir) },
  {
    title: 'a build made by raw SQL, so without a check',
    alter: (pb, shut) => pb.sql(`DELETE FROM av_build_checks WHERE build = '${shut.id}'`),
  },
  {
    title: 'the collection of builds renamed',
    alter: async (pb) => {
      // PocketBase renames nothing that a view names.
      for (const view of views) await pb.client.collections.delete(view);
      await pb.client.collections.update('app_builds', { name: 'releases' });
    },
    name: 'releases',
  },
];

/** The one that lets most through. */
function worst(answers: readonly GateAnswer[]): GateAnswer {
  return answers.find(({ status }) => status < 400) ?? answers[0]!;
}

interface Place {
  readonly pb: RunningPocketBase;
  readonly options: PocketBaseOptions;
  readonly shut: Filled;
  readonly open: Filled;
  readonly user: Client;
}

async function makePlace(isLocked: boolean): Promise<Place> {
  const options: PocketBaseOptions = { env: { AV_CREATE_APP_BUILDS: '' }, migrations, hooksPool: 15 };
  const folder = await preparePocketBase(options);
  await cp(hooksOf(folder.dir), join(folder.dir, 'whole'), { recursive: true });
  await folder.run(['migrate', 'up']);
  const pb = await servePocketBase(folder, options);
  const filled = async () => {
    const form = new FormData();
    for (const field of ['files', 'sealed']) form.append(field, new Blob([png]), 'pixel.png');
    return (await pb.client.collection('app_builds').create(form)) as unknown as Filled;
  };
  const [shut, open] = [await filled(), await filled()];
  await pb.sql(`UPDATE av_build_checks SET status = 'clean', open = TRUE WHERE build = '${open.id}'`);
  const password = 'long enough 1';
  const { id } = await pb.client
    .collection('people')
    .create({ email: 'a@example.com', password, passwordConfirm: password, verified: true });
  const user = await pb.client.collection('people').impersonate(id, 3600);
  if (isLocked) expect(await folder.run(['av-lock', 'on'])).toMatchObject({ code: 0 });
  return { pb, options, shut, open, user: user as Client };
}

/** False where PocketBase does not start. */
async function bring({ pb, options, shut }: Place, { spoil, env, watch, alter }: Condition): Promise<boolean> {
  await pb.kill('SIGTERM');
  await rm(hooksOf(pb.dir), { recursive: true, force: true });
  await cp(join(pb.dir, 'whole'), hooksOf(pb.dir), { recursive: true });
  await spoil?.(pb.dir);
  pb.setEnv({ AV_GATE: '', ...env });
  options.flags = watch ? ['--hooksWatch=true'] : [];
  try {
    await pb.restart();
  } catch {
    return false;
  }
  await alter?.(pb, shut);
  return true;
}

/** What came of each way to the closed build; null where PocketBase does not start. The open one must come on every way that a guest has. */
async function look(place: Place, condition: Condition): Promise<GateAnswer[] | null> {
  if (!(await bring(place, condition))) return null;
  const { pb, shut, open, user } = place;
  const [token, superuserToken] = [await user.files.getToken(), await pb.client.files.getToken()];
  const asker: Asker = { pb, token, superuserToken, name: condition.name ?? 'app_builds' };
  for (const [title, ask] of ways) {
    if (isGone(condition, title)) continue;
    // The header alone is nothing to PocketBase where a field is protected, so that the rule decides as for a guest.
    expect((await ask(asker, open)).status, `${condition.title}, an open build, ${title}`).toBeLessThan(300);
  }
  return await Promise.all(ways.map(([, ask]) => ask(asker, shut)));
}

const isGone = ({ name }: Condition, way: string) => name !== undefined && way.startsWith('view');

/** Which lock holds: `gate` as it answers where there is no other, `lock` as PocketBase answers where both are. */
function cell(gate: GateAnswer, lock: GateAnswer): string {
  const [byGate, bySecond] = [gate.status >= 400, lock.status === 404];
  expect(lock.status >= 400).toBe(byGate || bySecond);
  if (byGate) expect(gate).toMatchObject({ status: 403 });
  for (const { status, body } of [gate, lock]) if (status >= 400) expect(body).not.toContain('PNG');
  return byGate ? (bySecond ? 'both' : 'gate') : bySecond ? 'second' : '**open**';
}

let places: readonly [Place, Place];
beforeAll(async () => {
  places = await Promise.all([makePlace(false), makePlace(true)]);
});
afterAll(() => Promise.all((places ?? []).map(({ pb }) => pb.stop())));

it('stands in the docs', async () => {
  const rows = [`| | ${ways.map(([title]) => title).join(' | ')} |`, `| --- |${' --- |'.repeat(ways.length)}`];
  for (const condition of conditions) {
    const [gate, lock] = await Promise.all(places.map((place) => look(place, condition)));
    expect(gate === null).toBe(lock === null);
    const cells = ways.map(([title], i) => (!gate || !lock ? 'does not start' : isGone(condition, title) ? '–' : cell(gate[i]!, lock[i]!)));
    rows.push(`| ${condition.title} | ${cells.join(' | ')} |`);
  }
  const table = rows.join('\n');
  const page = await readFile(PAGE, 'utf8');
  const [before = '', after = ''] = page.split(`${HEADING}\n`);
  const written = /\n(\|[\s\S]*?\|)\n\n/.exec(after)?.[1] ?? '';
  if (process.env['WRITE_DOCS'] === 'true') await writeFile(PAGE, `${before}${HEADING}\n${after.replace(written, () => table)}`);
  else expect(written).toBe(table);
});
