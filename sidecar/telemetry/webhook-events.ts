/** Webhooks and the console's other watching: the log line and the count of each event together. Endpoints by id: a URL may hold a secret. */
import { Counter, Gauge, type Registry } from '@prometheus-io/client';
import type { OpenGate } from '../console/gate-probe.ts';
import type { DelivererEvents } from '../console/webhooks/deliverer.ts';
import type { MetricDefinition } from './catalogue.ts';
import type { Logger } from './log.ts';

export const webhookCatalogue = {
  deliveries: {
    name: 'pocketwarden_webhook_deliveries_total',
    help: 'Attempts to deliver a webhook by what came of them.',
    type: 'counter',
    labels: { result: ['delivered', 'failed', 'given-up'] },
  },
  failing: { name: 'pocketwarden_webhooks_failing', help: 'Deliveries that have failed and are tried again.', type: 'gauge' },
  givenUp: { name: 'pocketwarden_webhooks_given_up', help: 'Deliveries that were given up in the last 14 days.', type: 'gauge' },
  gateProbe: { name: 'pocketwarden_gate_probe_open', help: '1 while a file of a closed build can be had by anybody.', type: 'gauge' },
  historyBroken: { name: 'pocketwarden_history_broken', help: '1 once the scan history does not verify.', type: 'gauge' },
} as const satisfies Record<string, MetricDefinition>;

export interface WebhookGauges {
  failing(): number;
  givenUp(): number;
  historyBroken(): boolean;
  gateOpen(): boolean;
}

export interface WatchEvents extends DelivererEvents {
  historyBroken(why: string): void;
  gateOpen(open: OpenGate): void;
}

export function createWatchEvents(log: Logger, registry: Registry, gauges: WebhookGauges): WatchEvents {
  const { name, help, labels } = webhookCatalogue.deliveries;
  const deliveries = new Counter<string>({ name, help, labelNames: Object.keys(labels), registers: [registry] });
  for (const result of labels.result) deliveries.inc({ result }, 0);
  const gauge = (definition: MetricDefinition, read: () => number) =>
    new Gauge({
      name: definition.name,
      help: definition.help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  gauge(webhookCatalogue.failing, () => gauges.failing());
  gauge(webhookCatalogue.givenUp, () => gauges.givenUp());
  gauge(webhookCatalogue.gateProbe, () => Number(gauges.gateOpen()));
  gauge(webhookCatalogue.historyBroken, () => Number(gauges.historyBroken()));
  return {
    delivered({ event, kind, endpoint }) {
      deliveries.inc({ result: 'delivered' });
      log.info({ event: 'webhook-delivered', id: event, kind, endpoint }, 'webhook delivered');
    },
    failed({ event, kind, endpoint, attempts }, why, givenUp) {
      deliveries.inc({ result: givenUp ? 'given-up' : 'failed' });
      const line = { event: givenUp ? 'webhook-given-up' : 'webhook-failed', id: event, kind, endpoint, attempts: attempts + 1, why };
      if (givenUp) log.error(line, 'webhook given up: send it again from the console once its receiver works');
      else log.warn(line, 'webhook failed, trying again later');
    },
    unreadable(seq, why) {
      log.error({ event: 'history-unreadable', seq, why }, 'an entry of the scan history is none of ours; nobody is told of it');
    },
    refused(event, endpoint, why) {
      log.error({ event: 'webhook-refused', id: event, endpoint, why }, 'PocketBase does not keep this webhook; its receiver is not told');
    },
    outdated(count, seq) {
      log.warn({ event: 'webhooks-outdated', count, seq }, 'entries of the history were more than a day old; nobody is told of them');
    },
    callFailed(why) {
      log.warn({ event: 'webhooks-waiting', why }, 'the console could not do its round, trying again');
    },
    gateOpen({ build, file, url }) {
      log.error({ event: 'gate-open', build, file, url }, 'THE GATE STANDS OPEN: a file of a closed build was handed out');
    },
    historyBroken(why) {
      log.error({ event: 'history-broken', why }, 'THE SCAN HISTORY IS BROKEN');
    },
  };
}
