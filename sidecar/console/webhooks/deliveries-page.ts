/** /deliveries: what was told to whom, what failed, and 'Send again'. */
import type { Hono } from 'hono';
import { html } from 'hono/html';
import { type ConsoleEnv, csrfField, type Html, type LiveSource } from '../console-env.ts';
import { when } from '../format.ts';
import { stateBadge, type Word } from '../words.ts';
import { GIVE_UP_MS } from './endpoint-queue.ts';
import type { EventKind } from './event.ts';
import type { Delivery, Outbox } from './outbox.ts';

export interface DeliveriesPageParts {
  readonly outbox: Outbox;
  /** Whether anybody is to be told at all. */
  readonly isOn: boolean;
}

const SHOWN = 100;

const words = {
  waiting: { word: 'Waiting', tone: 'idle', shape: 'waiting' },
  failing: { word: 'Failing', tone: 'warn', shape: 'warn' },
  delivered: { word: 'Delivered', tone: 'ok', shape: 'ok' },
  givenUp: { word: 'Given up', tone: 'bad', shape: 'bad' },
} as const satisfies Record<string, Word>;

const kinds: Readonly<Partial<Record<string, string>>> = {
  'build.cleared': 'Build cleared',
  'build.infected': 'Build infected',
  'build.infected_later': 'Build found infected later',
  'build.error': 'Build could not be judged',
  'build.rescan_failed': 'Another scan failed',
  'build.closed': 'Build was open and is closed',
  'build.released': 'Build released',
  'build.closed_again': 'Build closed again',
  'engine.down': 'Engine down',
  'engine.up': 'Engine up again',
  'signatures.old': 'Signatures old',
  'gate.open_by_probe': 'Gate open',
  'gate.open': 'Gate open',
  'gate.enforced': 'Gate enforced again',
  'history.broken': 'History broken',
} satisfies Record<EventKind, string>;

export function createDeliveriesPages({ outbox, isOn }: DeliveriesPageParts): { addTo(app: Hono<ConsoleEnv>): void; live: LiveSource[] } {
  return {
    addTo(app) {
      app.get('/deliveries', async (c) => {
        const deliveries = await outbox.newest(SHOWN, c.req.raw.signal);
        return c.var.show({
          title: 'Deliveries',
          section: 'deliveries',
          live: ['deliveries'],
          body: pageOf(deliveries, isOn, csrfField(c)),
        });
      });
      app.post('/deliveries/:id/again', async (c) => {
        const { signal } = c.req.raw;
        const delivery = await outbox.get(c.req.param('id'), signal);
        if (delivery === null) {
          const body = html`<h1>There is no such delivery</h1><p>It was removed 14 days after its event. <a href="/deliveries">All deliveries</a></p>`;
          return c.var.show({ title: 'No such delivery', section: 'deliveries', body }, 404);
        }
        const now = Date.now();
        if (delivery.deliveredAt === null)
          await outbox.change(delivery.id, { next_at: now, give_up_at: now + GIVE_UP_MS, given_up_at: null }, signal);
        return c.redirect('/deliveries', 303);
      });
    },
    live: [
      {
        topic: 'deliveries',
        async fingerprint() {
          const newest = await outbox.newest(20, AbortSignal.timeout(5000));
          return newest.map(({ id, attempts, deliveredAt, givenUpAt }) => `${id}${attempts}${deliveredAt}${givenUpAt}`).join();
        },
      },
    ],
  };
}

function pageOf(deliveries: readonly Delivery[], isOn: boolean, csrf: Html): Html {
  const off = html`<p class="notice warn">Nobody is told of anything: set RESULT_WEBHOOK_URLS and RESULT_WEBHOOK_SECRET.</p>`;
  return html`<div class="page-head"><h1>Deliveries</h1></div>
<p class="lead">Webhooks of the last 14 days, newest first. A failed one is tried again for 24 hours, then given up.</p>
${isOn ? '' : off}
${deliveries.length === 0 ? html`<p class="empty">Nothing has been delivered yet. The first verdict makes the first delivery.</p>` : tableOf(deliveries, csrf)}`;
}

function tableOf(deliveries: readonly Delivery[], csrf: Html): Html {
  return html`<div class="table-scroll"><table>
<thead><tr><th scope="col">State</th><th scope="col">Event</th><th scope="col">Receiver</th><th scope="col">When</th><th scope="col" class="num">Attempts</th><th scope="col">Last error</th><th scope="col"><span class="hidden">Action</span></th></tr></thead>
<tbody>${deliveries.map((delivery) => rowOf(delivery, csrf))}</tbody>
</table></div>`;
}

function rowOf(delivery: Delivery, csrf: Html): Html {
  const { id, event, kind, endpoint, attempts, createdAt, deliveredAt, givenUpAt, nextAt, lastError } = delivery;
  const word = deliveredAt !== null ? words.delivered : givenUpAt !== null ? words.givenUp : attempts > 0 ? words.failing : words.waiting;
  const again = html`<form method="post" action="/deliveries/${id}/again" class="inline">${csrf}<button type="submit" class="button">Send again</button></form>`;
  const next = deliveredAt === null && givenUpAt === null && attempts > 0 ? html` <span class="muted">next ${when(nextAt)}</span>` : '';
  return html`<tr id="delivery-${id}">
<td data-label="State">${stateBadge(word)}</td>
<td data-label="Event" class="grow">${kinds[kind] ?? kind} <span class="muted mono wrap">${event}</span></td>
<td data-label="Receiver" class="mono wrap">${endpoint}</td>
<td data-label="When">${when(createdAt)}</td>
<td data-label="Attempts" class="num">${attempts}</td>
<td data-label="Last error" class="wrap">${lastError}${next}</td>
<td>${deliveredAt === null ? again : ''}</td>
</tr>`;
}
