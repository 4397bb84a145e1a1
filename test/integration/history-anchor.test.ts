/** What proves that the history is whole, over a real PocketBase. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HistoryAnchor, type HistoryAnchorParts } from '../../sidecar/console/history-anchor.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { claim, clean, infected, settle, upload } from '../harness/builds.ts';
import { type PocketBaseOptions, type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const never = new AbortController().signal;
const newSession = (pb: RunningPocketBase) => new Session({ url: pb.url, ...superuser });

async function started(options: PocketBaseOptions = {}): Promise<RunningPocketBase> {
  const pb = await startPocketBase(options);
  onTestFinished(() => pb.stop());
  return pb;
}

/** One more entry in the history. */
async function judge(pb: RunningPocketBase, verdict: typeof clean | typeof infected = clean): Promise<void> {
  await upload(pb, { 'a.txt': 'good' });
  const { checks } = await claim(pb, { max: 1 });
  await settle(pb, [verdict(checks[0]!)]);
}

async function anchorsOf(pb: RunningPocketBase | null) {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-anchor-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const anchorOf = (session?: HistoryAnchorParts['session']) => new HistoryAnchor({ session: session ?? newSession(pb!), folder });
  return { folder, anchorOf };
}

describe('the anchor of the history', () => {
  it('follows a history that grows, and notices one that was cut, changed or replaced', async () => {
    const pb = await started();
    const { anchorOf, folder } = await anchorsOf(pb);
    const judged = () => judge(pb);
    const kept = async () => JSON.parse(await readFile(join(folder, 'history-anchor.json'), 'utf8')) as { seq: number; hash: string };

    await judged();
    await anchorOf().check(never);
    const first = await kept();
    await judged();
    const anchor = anchorOf();
    await anchor.check(never);
    expect(anchor.broken).toBeNull();
    expect((await kept()).seq).toBe(first.seq + 1);

    await writeFile(join(folder, 'history-anchor.json'), JSON.stringify({ ...first, hash: 'f'.repeat(64) }));
    const replaced = anchorOf();
    await replaced.check(never);
    expect(replaced.broken?.why).toContain('is not the one that was there');

    await writeFile(join(folder, 'history-anchor.json'), JSON.stringify({ seq: first.seq + 1000, hash: first.hash }));
    const cut = anchorOf();
    await cut.check(never);
    expect(cut.broken?.why).toContain('the history was cut or put back');

    await writeFile(join(folder, 'history-anchor.json'), JSON.stringify(first));
    await pb.sql(`UPDATE av_scan_history SET entry = replace(entry, 'clean', 'dirty') WHERE seq = ${first.seq + 1}`);
    const changed = anchorOf();
    await changed.check(never);
    expect(changed.broken?.why).toContain(`entry ${first.seq + 1} does not verify`);
  });

  const forged = "INSERT INTO av_scan_history (id, seq, entry, hash, created) SELECT 'forged', ";
  it.each<[string, string[], string]>([
    ['changed', ["UPDATE av_scan_history SET entry = replace(entry, 'infected', 'clean') WHERE seq = 2"], 'entry 2 does not verify'],
    ['deleted', ['DELETE FROM av_scan_history WHERE seq = 3'], 'entry 3 does not verify: it is missing'],
    ['inserted', [`${forged} 2.5, entry, hash, created FROM av_scan_history WHERE seq = 2`], 'entry 2.5 does not verify: it is inserted'],
    [
      'inserted, the others moved on',
      [
        'UPDATE av_scan_history SET seq = -(seq + 1) WHERE seq >= 2',
        'UPDATE av_scan_history SET seq = -seq WHERE seq < 0',
        `${forged} 2, entry, hash, created FROM av_scan_history WHERE seq = 1`,
      ],
      'entry 2 does not verify',
    ],
    [
      'in another’s place',
      [
        'UPDATE av_scan_history SET seq = -2 WHERE seq = 2',
        'UPDATE av_scan_history SET seq = 2 WHERE seq = 3',
        'UPDATE av_scan_history SET seq = 3 WHERE seq = -2',
      ],
      'entry 2 does not verify',
    ],
    ['the last and gone', ['DELETE FROM av_scan_history WHERE seq = 5'], 'entry 5 was there and is gone'],
    ['written anew without the key', ['UPDATE av_scan_history SET hash = lower(hex(randomblob(32)))'], 'entry 1 does not verify'],
    [
      'written anew without the key, at the end',
      ['UPDATE av_scan_history SET hash = lower(hex(randomblob(32))) WHERE seq = 5'],
      'entry 5 does not verify',
    ],
  ])('notices an entry that is %s in its next look, also after a restart', async (_name, queries, why) => {
    const pb = await started({ env: { AV_JOURNAL_DIR: '/dev/null/journal' } });
    const { anchorOf } = await anchorsOf(pb);
    for (let n = 1; n <= 5; n++) await judge(pb, n === 2 ? infected : clean);
    const anchor = anchorOf();
    for (let n = 0; n < 3; n++) await anchor.check(never);
    expect(anchor.broken).toBeNull();
    for (const sql of queries) await pb.sql(sql);
    await anchor.check(never);
    expect(anchor.broken?.why).toContain(why);
    const restarted = anchorOf();
    await restarted.check(never);
    expect(restarted.broken?.why).toContain(why);
  });

  it.each([0, 1, 5])('notices an older database that is put back, after %i more entries', async (more) => {
    const pb = await started();
    const { anchorOf } = await anchorsOf(pb);
    await judge(pb);
    await pb.kill('SIGTERM');
    const [data, copy] = [join(pb.dir, 'pb_data'), join(pb.dir, 'copy')];
    await cp(data, copy, { recursive: true });
    await pb.restart();
    for (let n = 0; n < 3; n++) await judge(pb);
    const anchor = anchorOf();
    await anchor.check(never);
    await pb.kill('SIGTERM');
    await rm(data, { recursive: true });
    await cp(copy, data, { recursive: true });
    await pb.restart();
    for (let n = 0; n < more; n++) await judge(pb);
    await anchor.check(never);
    expect(anchor.broken?.why).toMatch(more < 3 ? /entry 4 was there and is gone/ : /entry 4 is not the one that was there/);
    const restarted = anchorOf();
    await restarted.check(never);
    expect(restarted.broken).toEqual(anchor.broken);
  });

  it.each(['', '{"seq":', '{"seq":"1"}'])('takes nonsense where it was kept for an alert: %j', async (text) => {
    const { anchorOf, folder } = await anchorsOf(null);
    await writeFile(join(folder, 'history-anchor.json'), text);
    const anchor = anchorOf({ send: () => Promise.reject(new Error('nobody is asked')) });
    await anchor.check(never);
    expect(anchor.broken?.why).toContain('holds nonsense');
    expect(await readFile(join(folder, 'history-anchor.json'), 'utf8')).toBe(text);
  });

  it('walks through a history of several calls, over restarts, and begins again at its end', async () => {
    const { anchorOf, folder } = await anchorsOf(null);
    const hashOf = (seq: number) => seq.toString(16).padStart(64, '0');
    const asked: string[] = [];
    const forged = new Set<number>();
    const [page, rows] = [5000, 12_000];
    const session = {
      async send({ path }: { path: string }) {
        asked.push(path.replace(/^.*after=(\d+).*$/, '$1'));
        const after = Number(asked.at(-1));
        const to = Math.min(after + page, rows);
        const bad = [...forged].find((seq) => seq > after && seq <= to);
        const broken = bad === undefined ? null : { seq: bad, why: 'changed' };
        return { ok: broken === null, more: broken === null && to < rows, last: { seq: to, hash: hashOf(to) }, broken };
      },
    };
    const checked = async (anchor = anchorOf(session)) => {
      await anchor.check(never);
      return { asked: asked.splice(0).join(' '), broken: anchor.broken };
    };
    expect(await checked()).toMatchObject({ asked: '0 5000 10000' });
    expect(await checked()).toMatchObject({ asked: '0 12000' });
    expect(await checked()).toMatchObject({ asked: '5000 12000' });
    expect(await checked()).toMatchObject({ asked: '10000 12000' });
    expect(await checked()).toMatchObject({ asked: '0 12000' });
    forged.add(4711);
    expect((await checked()).broken).toBeNull();
    expect((await checked()).broken).toBeNull();
    expect(await checked()).toMatchObject({ asked: '0', broken: { seq: 4711 } });
    await writeFile(
      join(folder, 'history-anchor.json'),
      JSON.stringify({ seq: rows, hash: 'f'.repeat(64), walk: { seq: 10_000, hash: hashOf(10_000) } }),
    );
    expect(await checked()).toMatchObject({ asked: '10000', broken: { seq: rows, why: `entry ${rows} is not the one that was there` } });
  });
});
