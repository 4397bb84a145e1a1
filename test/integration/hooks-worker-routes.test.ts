/** Claim, renew, settle: every lease ends once, and the state afterwards is the one of the table in the design. */
import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ClaimedCheck, RenewResult } from '../../pb_hooks/lib/wire.ts';
import { checkOf, claim, clean, clearAll, download, form, giveBack, infected, settle, unscannable, upload } from '../harness/builds.ts';
import { eventually } from '../harness/eventually.ts';
import { type RunningPocketBase, startPocketBase } from '../harness/pocketbase.ts';

const key = 'a history key for this test';

describe('the worker routes', () => {
  let pb: RunningPocketBase;
  beforeAll(async () => {
    pb = await startPocketBase({ env: { AV_HISTORY_KEY: key } });
  });
  afterAll(() => pb?.stop());
  beforeEach(async () => {
    await pb.sql(
      "UPDATE av_build_checks SET suspect = FALSE, not_before = '', lease_until = '', status = CASE WHEN status = 'scanning' THEN 'pending' ELSE status END",
    );
    await clearAll(pb);
  });

  const one = async (options: Parameters<typeof claim>[1] = {}): Promise<ClaimedCheck> => {
    const { checks } = await claim(pb, { max: 1, ...options });
    expect(checks).toHaveLength(1);
    return checks[0]!;
  };
  const renew = async (leases: { id: string; lease: string }[]): Promise<RenewResult[]> =>
    (await pb.client.send('/api/av/renew', { method: 'POST', body: { leaseSeconds: 60, leases } })).results;
  /** As if the lease of a check had run out a minute ago. */
  const expire = (id: string) => pb.sql(`UPDATE av_build_checks SET lease_until = '2020-01-01 00:00:00.000Z' WHERE id = '${id}'`);
  const due = (id: string) => pb.sql(`UPDATE av_build_checks SET not_before = '' WHERE id = '${id}'`);
  const askForFile = (check: ClaimedCheck) =>
    fetch(`${pb.url}/api/av/checks/${check.id}/files/${check.files[0]!.name}`, {
      headers: { Authorization: pb.client.authStore.token, 'X-AV-Lease': check.lease },
    }).then((answer) => answer.text());

  it('gives a check to one of many claimers', async () => {
    const builds = await Promise.all(Array.from({ length: 40 }, (_, i) => upload(pb, { 'a.txt': String(i) })));
    const answers = await Promise.all(Array.from({ length: 20 }, () => claim(pb, { max: 4 })));
    const claimed = answers.flatMap(({ checks }) => checks);
    expect(new Set(claimed.map(({ build }) => build)).size).toBe(claimed.length);
    expect(new Set(claimed.map(({ lease }) => lease)).size).toBe(claimed.length);
    expect(claimed.map(({ build }) => build).sort()).toEqual(builds.map(({ id }) => id).sort());
    await settle(pb, claimed.map(clean));
  });

  it('names the files and the oldest upload first', async () => {
    const first = await upload(pb, { 'a.txt': 'a', 'b.txt': 'b' });
    const second = await upload(pb, { 'c.txt': 'c' });
    const { checks, drain } = await claim(pb);
    expect(checks.map(({ build }) => build)).toEqual([first.id, second.id]);
    expect(checks[0]).toMatchObject({ attempts: 0, suspect: false, rescan: false, files: first.files.map((name) => ({ name, size: 0 })) });
    expect(checks[0]!.waited).toBeGreaterThanOrEqual(0);
    expect(drain).toBe(false);
    expect(await checkOf(pb, first)).toMatchObject({ status: 'scanning', open: false, worker: 'test' });
  });

  it('settles each verdict with what was found, by whom, and into the history', async () => {
    const builds = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'b.txt': 'b' }), await upload(pb, { 'c.txt': 'c' })];
    const { checks } = await claim(pb);
    const results = await settle(pb, [clean(checks[0]!), infected(checks[1]!, 'Win.Test-1'), unscannable(checks[2]!)]);
    expect(results.map(({ status }) => status)).toEqual(['clean', 'infected', 'error']);
    expect(await checkOf(pb, builds[0]!)).toMatchObject({
      status: 'clean',
      open: true,
      reason: '',
      engine: { signatures: 'test' },
      pending_since: '',
    });
    expect(await checkOf(pb, builds[1]!)).toMatchObject({
      status: 'infected',
      open: false,
      virus_name: 'Win.Test-1',
      log: 'found by the test',
    });
    expect(await checkOf(pb, builds[2]!)).toMatchObject({ status: 'error', open: false, reason: 'unscannable:encrypted' });
    const rows = await pb.client.collection('av_scan_history').getFullList({ sort: 'seq' });
    expect(rows.slice(-3).map((row) => JSON.parse(row['entry']))).toMatchObject(
      builds.map((build, i) => ({
        event: 'settled',
        build: build.id,
        check: checks[i]!.id,
        status: ['clean', 'infected', 'error'][i],
        worker: 'test',
        rescan: false,
        revision: 1,
        files: [{ sha256: 'a'.repeat(64), size: 1 }],
      })),
    );
  });

  it('chains the history from its first row under the key', async () => {
    await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    const rows = await pb.client.collection('av_scan_history').getFullList({ sort: 'seq' });
    let hash = '';
    for (const [i, row] of rows.entries()) {
      hash = createHmac('sha256', key)
        .update(hash + row['entry'])
        .digest('hex');
      expect(row['seq']).toBe(i + 1);
      expect(row['hash']).toBe(hash);
    }
    expect(rows.length).toBeGreaterThan(0);
  });

  it('keeps the history from being changed, deleted, truncated or dropped', async () => {
    await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    const history = pb.client.collection('av_scan_history');
    const before = await history.getFullList();
    const id = before[0]!.id;
    await expect(history.update(id, { entry: 'forged' })).rejects.toMatchObject({ status: 403 });
    await expect(history.delete(id)).rejects.toThrow();
    await expect(pb.client.collections.truncate('av_scan_history')).rejects.toThrow();
    await expect(pb.client.collections.delete('av_scan_history')).rejects.toThrow();
    expect(await history.getFullList()).toEqual(before);
  });

  it('accepts a settle once, a repeated one harmlessly, a foreign one never', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const check = await one();
    expect(
      await settle(pb, [
        { ...clean(check), lease: 'guess' },
        { ...clean(check), lease: '' },
        { ...clean(check), id: 'nosuchcheck0001' },
      ]),
    ).toMatchObject(Array.from({ length: 3 }, () => ({ ok: false, code: 'lease_lost' })));
    expect(await settle(pb, [infected(check)])).toMatchObject([{ ok: true, status: 'infected' }]);
    expect(await settle(pb, [infected(check)])).toMatchObject([{ ok: true, status: 'infected' }]);
    expect(await settle(pb, [clean(check)])).toMatchObject([{ ok: false, code: 'lease_lost' }]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'infected', open: false });
    expect(await renew([{ id: check.id, lease: check.lease }])).toMatchObject([{ ok: false, code: 'lease_lost' }]);
  });

  it('believes no clean verdict that leaves a file of the build out', async () => {
    const build = await upload(pb, { 'a.txt': 'a', 'b.txt': 'b' });
    const check = await one();
    const partial = clean({ ...check, files: check.files.slice(1) });
    expect(await settle(pb, [partial])).toMatchObject([{ ok: false, code: 'invalid' }]);
    const mixed = { ...infected({ ...check, files: check.files.slice(0, 1) }), verdict: 'clean' } as never;
    expect(await settle(pb, [mixed])).toMatchObject([{ ok: false, code: 'invalid' }]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'scanning', open: false });
    expect(await settle(pb, [clean(check)])).toMatchObject([{ ok: true, status: 'clean' }]);
  });

  it('settles the good items of a list that holds a bad one', async () => {
    await upload(pb, { 'a.txt': 'a' });
    const check = await one();
    const results = await settle(pb, [{ id: check.id, lease: check.lease, verdict: 'perhaps' } as never, clean(check)]);
    expect(results).toMatchObject([
      { ok: false, code: 'invalid' },
      { ok: true, status: 'clean' },
    ]);
  });

  it('renews a lease for its holder alone', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const check = await one({ leaseSeconds: 5 });
    expect(
      await renew([
        { id: check.id, lease: check.lease },
        { id: check.id, lease: 'guess' },
      ]),
    ).toMatchObject([{ ok: true }, { ok: false, code: 'lease_lost' }]);
    const until = Date.parse(String((await checkOf(pb, build))['lease_until']).replace(' ', 'T'));
    expect(until - Date.now()).toBeGreaterThan(50_000);
  });

  it.each(['engine-unavailable', 'interrupted'] as const)('gives back %s uncounted and at once', async (code) => {
    const build = await upload(pb, { 'a.txt': 'a' });
    for (let i = 0; i < 5; i++) await settle(pb, [giveBack(await one(), code)]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', attempts: 0, suspect: false });
  });

  it.each(['download', 'download:missing', 'unexpected'] as const)('counts %s, backs off, and ends with it as the reason', async (code) => {
    const build = await upload(pb, { 'a.txt': 'a' });
    for (const attempts of [1, 2]) {
      const check = await one();
      await settle(pb, [giveBack(check, code)]);
      expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', attempts });
      expect((await claim(pb)).checks).toEqual([]);
      await due(check.id);
    }
    await settle(pb, [giveBack(await one(), code)]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'error', reason: code, open: false });
    expect(await download(pb, build)).toMatchObject({ status: 403, code: 'scan_error' });
    expect((await claim(pb)).checks).toEqual([]);
  });

  it('sets a check that may have stopped the engine apart, and counts it only when it was alone', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await settle(pb, [giveBack(await one(), 'engine-reply')]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', suspect: true, attempts: 0 });
    const other = await upload(pb, { 'b.txt': 'b' });
    const busy = await one();
    expect(busy.build).toBe(other.id);
    expect(await claim(pb, { alone: true })).toMatchObject({ checks: [], drain: true });
    await settle(pb, [clean(busy)]);
    expect(await claim(pb)).toMatchObject({ checks: [], drain: true });
    for (const attempts of [1, 2]) {
      const check = await one({ alone: true });
      expect(check).toMatchObject({ build: build.id, suspect: true });
      await upload(pb, { 'c.txt': 'c' });
      expect(await claim(pb)).toEqual({ checks: [], drain: false });
      await settle(pb, [giveBack(check, 'engine-reply')]);
      expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', attempts });
      await clearAll(pb);
      await due(check.id);
    }
    await settle(pb, [giveBack(await one({ alone: true }), 'engine-reply')]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'error', reason: 'engine-reply', suspect: false });
  });

  it('does not let suspects starve under steady uploads', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await settle(pb, [giveBack(await one(), 'engine-reply')]);
    await pb.sql(`UPDATE av_build_checks SET updated = '2020-01-01 00:00:00.000Z' WHERE build = '${build.id}'`);
    await upload(pb, { 'b.txt': 'b' });
    expect(await claim(pb)).toMatchObject({ checks: [], drain: true });
    const suspect = await one({ alone: true });
    expect(suspect).toMatchObject({ build: build.id, suspect: true });
    await settle(pb, [clean(suspect)]);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'clean', suspect: false });
  });

  it('counts an expired lease only when its files were asked for', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const unbegun = await one();
    await expire(unbegun.id);
    const begun = await one();
    expect(await checkOf(pb, build)).toMatchObject({ attempts: 0, suspect: false, lapses: 1 });
    expect(await settle(pb, [clean(unbegun)])).toMatchObject([{ ok: false, code: 'lease_lost' }]);
    expect(await askForFile(begun)).toBe('a');
    await expire(begun.id);
    await claim(pb);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', attempts: 1, suspect: true, lapses: 0 });
  });

  it('counts the third lease in a row that runs out unbegun', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    for (let i = 0; i < 3; i++) await expire((await one()).id);
    await claim(pb);
    expect(await checkOf(pb, build)).toMatchObject({ status: 'pending', attempts: 1, suspect: true });
  });

  it('accepts the verdict of an expired lease that nobody took over', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const check = await one();
    await expire(check.id);
    expect(await settle(pb, [clean(check)])).toMatchObject([{ ok: true, status: 'clean' }]);
    expect((await checkOf(pb, build)).open).toBe(true);
  });

  it('ends expired leases by sweeping when no worker asks', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    await expire((await one()).id);
    await pb.client.crons.run('av-sweep');
    await expect.poll(async () => (await checkOf(pb, build)).status).toBe('pending');
  });

  it('rescans last, keeps the gate as it is meanwhile, and a failed rescan of a clean build leaves it clean', async () => {
    const old = await upload(pb, { 'a.txt': 'a' });
    await clearAll(pb);
    await pb.sql(`UPDATE av_build_checks SET rescan_at = '2020-01-01 00:00:00.000Z' WHERE build = '${old.id}'`);
    const fresh = await upload(pb, { 'b.txt': 'b' });
    expect((await one()).build).toBe(fresh.id);
    const check = await one();
    expect(check).toMatchObject({ build: old.id, rescan: true });
    expect(await checkOf(pb, old)).toMatchObject({ status: 'clean', open: true });
    await settle(pb, [giveBack(check, 'download')], 1);
    expect(await checkOf(pb, old)).toMatchObject({ status: 'clean', open: true, attempts: 0 });
    expect((await claim(pb)).checks).toEqual([]);
    await pb.sql(`UPDATE av_build_checks SET rescan_at = '2020-01-01 00:00:00.000Z' WHERE build = '${old.id}'`);
    await settle(pb, [unscannable(await one())]);
    expect(await checkOf(pb, old)).toMatchObject({ status: 'error', open: false, reason: 'unscannable:encrypted' });
  });

  it('refuses whoever is no worker, and what is no request', async () => {
    const ask = (body: string, headers: Record<string, string> = { Authorization: pb.client.authStore.token }) =>
      fetch(`${pb.url}/api/av/claim`, { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body }).then(
        ({ status }) => status,
      );
    const good = JSON.stringify({ worker: 'w', max: 1, leaseSeconds: 60, maxRetries: 3 });
    expect(await ask(good, {})).toBe(401);
    for (const bad of [
      '',
      '[]',
      'null',
      '{',
      '{"max":0}',
      good.replace('"max":1', '"max":1.5'),
      good.replace('60', '"60"'),
      good.replace('"max":1', '"max":101'),
    ]) {
      expect(await ask(bad), bad).toBe(400);
    }
    expect(await ask(`{"worker":"${'x'.repeat(2_100_000)}"}`)).toBe(413);
    expect(await ask(good)).toBe(200);
  });

  it('keeps the end of a long log', async () => {
    const build = await upload(pb, { 'a.txt': 'a' });
    const line = 'x'.repeat(99);
    for (let i = 0; i < 3; i++) {
      const check = await one();
      await settle(pb, [{ ...giveBack(check, 'interrupted'), log: `${Array.from({ length: 100 }, () => line).join('\n')}\nround ${i}` }]);
    }
    const { log } = await checkOf(pb, build);
    expect(log.length).toBeLessThanOrEqual(20_000);
    expect(log.endsWith('round 2')).toBe(true);
    expect(log.startsWith('x') || log.startsWith('round')).toBe(true);
  });
});

describe('GET /api/av/health', () => {
  it('counts every check as it stands, and what raw SQL finishes soon after', async () => {
    await using pb = await startPocketBase();
    const counts = async () => {
      const { counts: byStatus, reasons } = await pb.client.send('/api/av/health', {});
      return { ...byStatus, reasons };
    };
    const none = { pending: 0, scanning: 0, clean: 0, infected: 0, error: 0, reasons: {} };
    expect(await counts()).toEqual(none);
    const builds = [await upload(pb, { 'a.txt': 'a' }), await upload(pb, { 'b.txt': 'b' }), await upload(pb, { 'c.txt': 'c' })];
    expect(await counts()).toEqual({ ...none, pending: 3 });
    const { checks } = await claim(pb, { max: 2 });
    expect(await counts()).toEqual({ ...none, pending: 1, scanning: 2 });
    await settle(pb, [clean(checks[0]!), giveBack(checks[1]!, 'download')], 1);
    expect(await counts()).toEqual({ ...none, pending: 1, clean: 1, error: 1, reasons: { download: 1 } });
    const changed = builds.find(({ id }) => id === checks[0]!.build)!;
    await pb.client.collection('app_builds').update(changed.id, form({ 'd.txt': 'd' }, 'files+'));
    expect(await counts()).toEqual({ ...none, pending: 2, error: 1, reasons: { download: 1 } });
    const [last] = (await claim(pb, { max: 1 })).checks;
    await settle(pb, [infected(last!)]);
    expect(await counts()).toEqual({ ...none, pending: 1, infected: 1, error: 1, reasons: { download: 1 } });
    for (const { build } of [last!, checks[1]!]) await pb.client.collection('app_builds').delete(build);
    expect(await counts()).toEqual({ ...none, pending: 1 });
    await pb.sql("UPDATE av_build_checks SET status = 'clean'");
    await eventually('what raw SQL did is counted', async () => (await counts()).clean === 1, 8_000);
    expect(await counts()).toEqual({ ...none, clean: 1 });
  });
});

describe('without a history key', () => {
  it('nothing is settled, the gate stays shut, and health says why', async () => {
    await using pb = await startPocketBase();
    const build = await upload(pb, { 'a.txt': 'a' });
    await pb.kill('SIGTERM');
    pb.setEnv({ AV_HISTORY_KEY: '' });
    await pb.restart();
    const { checks } = await claim(pb);
    await expect(settle(pb, checks.map(clean))).rejects.toMatchObject({ status: 400 });
    expect((await download(pb, build)).status).toBe(403);
    expect((await pb.client.send('/api/av/health', {})).problems.join()).toContain('AV_HISTORY_KEY is not set');
  });
});
