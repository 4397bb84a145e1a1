/** Webhooks from the real history of a real PocketBase to a real HTTP receiver. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../sidecar/clock.ts';
import { Deliverer, type DelivererEvents } from '../../sidecar/console/webhooks/deliverer.ts';
import { endpointOf } from '../../sidecar/console/webhooks/endpoint.ts';
import { GIVE_UP_MS } from '../../sidecar/console/webhooks/endpoint-queue.ts';
import { Outbox } from '../../sidecar/console/webhooks/outbox.ts';
import { createSender } from '../../sidecar/console/webhooks/send.ts';
import { Session } from '../../sidecar/pocketbase/session.ts';
import { type Build, checkOf, claim, clean, infected, settle as settleItems, unscannable, upload } from '../harness/builds.ts';
import { type RunningPocketBase, startPocketBase, superuser } from '../harness/pocketbase.ts';

const never = new AbortController().signal;
let pb: RunningPocketBase;
beforeAll(async () => {
  pb = await startPocketBase();
});
afterAll(() => pb.stop());

const newSession = () => new Session({ url: pb.url, ...superuser });

const verdicts = { clean, infected, unscannable };

/** As a worker would, so that the history says so. */
async function settle(build: Build, verdict: keyof typeof verdicts): Promise<void> {
  const { checks } = await claim(pb, { max: 100, alone: true });
  const [result] = await settleItems(pb, [verdicts[verdict](checks.find((check) => check.build === build.id)!)]);
  expect(result).toMatchObject({ ok: true });
}

async function receiver() {
  const received: { id: string; type: string; data: Record<string, unknown> }[] = [];
  let status = 200;
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    if (status === 200) received.push(JSON.parse(text));
    response.writeHead(status).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  const answer = (next: number) => {
    status = next;
  };
  return { url, received, answer };
}

function delivererTo(urls: readonly string[], clock = { now: Date.now() }) {
  const told: string[] = [];
  const events: DelivererEvents = {
    delivered: ({ kind }) => told.push(`delivered ${kind}`),
    failed: ({ kind }, why, givenUp) => told.push(`${givenUp ? 'given up' : 'failed'} ${kind}: ${why}`),
    unreadable: (seq) => told.push(`unreadable ${seq}`),
    refused: (event, _endpoint, why) => told.push(`refused ${event}: ${why}`),
    outdated: (count) => told.push(`outdated ${count}`),
    callFailed: (why) => told.push(why),
  };
  const outbox = new Outbox(newSession());
  const send = createSender({ secret: 'secret', allowed: new Set(['127.0.0.1']), timeoutMs: 2000, now: () => 1 });
  const parts = {
    outbox,
    endpoints: urls.map(endpointOf),
    send,
    clock: systemClock,
    events,
    wallClock: () => clock.now,
    random: () => 0.5,
  };
  const deliverer = new Deliverer(parts);
  return { deliverer, outbox, told, clock };
}

/** A build that is open because it is clean, and what an operator may decide about it. */
async function cleared() {
  const build = await upload(pb, { 'a.txt': 'good' });
  await settle(build, 'clean');
  const check = await checkOf(pb, build);
  const decide = (action: string) =>
    pb.client.send(`/api/av/checks/${check.id}/${action}`, { method: 'POST', body: { reason: 'as a test' } });
  return { build, decide };
}

describe('webhooks', () => {
  it('tell of each verdict once, whoever restarts in between, and of nothing that was there before', async () => {
    const before = await upload(pb, { 'old.txt': 'old' });
    await settle(before, 'clean');
    const { url, received } = await receiver();
    await delivererTo([url]).deliverer.round(never);
    expect(received).toEqual([]);

    const clean = await upload(pb, { 'a.txt': 'good' });
    await settle(clean, 'clean');
    const bad = await upload(pb, { 'b.txt': 'bad' });
    await settle(bad, 'infected');
    // Each round by a console of its own, and two of them side by side.
    await Promise.all([delivererTo([url]).deliverer.round(never), delivererTo([url]).deliverer.round(never)]);
    await delivererTo([url]).deliverer.round(never);
    const once_ = new Map(received.map((event) => [event.id, event]));
    expect([...once_.values()].map(({ type, data }) => [type, data['build']])).toEqual([
      ['build.cleared', clean.id],
      ['build.infected', bad.id],
    ]);
    const before_ = received.length;
    await delivererTo([url]).deliverer.round(never);
    expect(received).toHaveLength(before_);
  });

  it('tell apart what was open until now, and what an operator decided', async () => {
    const { url, received } = await receiver();
    const { deliverer } = delivererTo([url]);
    await deliverer.round(never);
    const { build, decide } = await cleared();
    await decide('rescan');
    await settle(build, 'infected');
    await decide('release');
    await decide('revoke');
    await deliverer.round(never);
    expect(received.map(({ type }) => type)).toEqual(['build.cleared', 'build.infected_later', 'build.released', 'build.closed_again']);
    expect(received[1]?.data).toMatchObject({ findings: [{ signature: 'Test.Virus-1' }] });
    expect(received.map(({ data }) => [data['wasOpen'], data['open']])).toEqual([
      [undefined, true],
      [true, false],
      [undefined, true],
      [undefined, false],
    ]);
    expect(received[2]?.data).toMatchObject({ by: superuser.email, reason: 'as a test' });
  });

  it('tell of a build that is closed because it cannot be judged any more, and not of a release that holds', async () => {
    const { url, received } = await receiver();
    const { deliverer } = delivererTo([url]);
    await deliverer.round(never);
    const { build, decide } = await cleared();
    await decide('rescan');
    await settle(build, 'unscannable');
    await decide('release');
    await decide('rescan');
    await settle(build, 'unscannable');
    expect(await checkOf(pb, build)).toMatchObject({ open: true });
    await deliverer.round(never);
    expect(received.map(({ type }) => type)).toEqual(['build.cleared', 'build.closed', 'build.released']);
    expect(received[1]?.data).toMatchObject({ build: build.id, reason: 'unscannable:encrypted', open: false, wasOpen: true });
  });

  it('go on past an event that PocketBase does not keep', async () => {
    const { url, received } = await receiver();
    const { deliverer, told } = delivererTo([url]);
    await deliverer.round(never);
    const timestamp = new Date().toISOString();
    await deliverer.announce({ id: 'engine-down-long', type: 'engine.down', timestamp, data: { why: 'x'.repeat(100_001) } }, never);
    await deliverer.announce({ id: 'engine-down-short', type: 'engine.down', timestamp, data: {} }, never);
    await deliverer.round(never);
    expect(told[0]).toMatch(/^refused engine-down-long: .*body/);
    expect(received.map(({ id }) => id)).toEqual(['engine-down-short']);
  });

  it('try again later, and are given up after a day for all to see', async () => {
    const { url, received, answer } = await receiver();
    const { deliverer, outbox, told, clock } = delivererTo([url]);
    await deliverer.round(never);
    answer(500);
    await settle(await upload(pb, { 'a.txt': 'good' }), 'clean');
    await deliverer.round(never);
    expect(told).toEqual(['failed build.cleared: it answered 500']);
    await deliverer.round(never);
    expect(told).toHaveLength(1);
    expect(await outbox.troubled(never)).toMatchObject({ failing: 1 });

    clock.now += 15_000;
    await deliverer.round(never);
    expect(told).toHaveLength(2);
    clock.now += GIVE_UP_MS;
    await deliverer.round(never);
    expect(told.at(-1)).toBe('given up build.cleared: it answered 500');
    const [delivery] = await outbox.newest(1, never);
    expect(delivery).toMatchObject({ attempts: 3, lastError: 'it answered 500', deliveredAt: null, givenUpAt: expect.any(String) });
    clock.now += GIVE_UP_MS;
    await deliverer.round(never);
    expect(told).toHaveLength(3);

    answer(200);
    await outbox.change(delivery!.id, { next_at: clock.now, give_up_at: clock.now + GIVE_UP_MS, given_up_at: null }, never);
    await deliverer.round(never);
    expect(received.map(({ type }) => type)).toEqual(['build.cleared']);
    expect(await outbox.troubled(never)).toEqual({ failing: 0, givenUp: 0 });
  });

  it('go to every receiver, and one that fails keeps no other waiting', async () => {
    const [good, bad] = [await receiver(), await receiver()];
    const { deliverer } = delivererTo([bad.url, good.url]);
    await deliverer.round(never);
    bad.answer(503);
    await settle(await upload(pb, { 'a.txt': 'good' }), 'clean');
    await deliverer.round(never);
    expect(good.received).toHaveLength(1);
    expect(bad.received).toHaveLength(0);
  });

  it('are removed two weeks after they ended, not before', async () => {
    const { url } = await receiver();
    const { deliverer, outbox, clock } = delivererTo([url]);
    await deliverer.round(never);
    await settle(await upload(pb, { 'a.txt': 'good' }), 'clean');
    await deliverer.round(never);
    expect((await outbox.newest(10, never)).length).toBeGreaterThan(0);
    clock.now += 15 * 24 * 3_600_000;
    // Whatever other tests left undelivered is given up on the way, and removed too.
    for (let round = 0; round < 3; round++) await deliverer.round(never);
    expect((await outbox.newest(10, never)).filter(({ deliveredAt }) => deliveredAt !== null)).toEqual([]);
  });
});
