/** Who came in, who did not, and who left: a log line and a count each. Passwords and tokens never come this far. */
import { Counter, type Registry } from '@prometheus-io/client';
import type { MetricDefinition } from './catalogue.ts';
import type { Logger } from './log.ts';

const results = ['ok', 'refused', 'throttled', 'unavailable'] as const;
export type LoginResult = (typeof results)[number];

export const accessCatalogue = {
  logins: {
    name: 'pocketwarden_logins_total',
    help: 'Logins at the console by what came of them.',
    type: 'counter',
    labels: { result: results },
  },
  foreignRequests: {
    name: 'pocketwarden_foreign_requests_total',
    help: 'Changes that were refused because they did not come from our own pages.',
    type: 'counter',
  },
} as const satisfies Record<string, MetricDefinition>;

export interface LoginAttempt {
  /** As it was typed, cut; `OPERATOR_TOKEN` for the token. */
  readonly account: string;
  readonly address: string;
}

export interface AccessEvents {
  loggedIn(attempt: LoginAttempt): void;
  loginFailed(attempt: LoginAttempt, result: Exclude<LoginResult, 'ok'>, why: string): void;
  loggedOut(name: string): void;
  /** A change that did not come from our own pages, or without the token of its form. */
  foreignRequest(name: string, path: string, why: string): void;
}

export function accessEvents(log: Logger, registry: Registry): AccessEvents {
  const registers = [registry];
  const counter = ({ name, help }: MetricDefinition, labelNames: string[]) => new Counter<string>({ name, help, labelNames, registers });
  const logins = counter(accessCatalogue.logins, ['result']);
  for (const result of results) logins.inc({ result }, 0);
  const foreign = counter(accessCatalogue.foreignRequests, []);
  return {
    loggedIn({ account, address }) {
      logins.inc({ result: 'ok' });
      log.info({ event: 'login', account, address }, 'operator logged in');
    },
    loginFailed({ account, address }, result, why) {
      logins.inc({ result });
      log.warn({ event: 'login-failed', account, address, result, why }, 'login failed');
    },
    loggedOut(name) {
      log.info({ event: 'logout', account: name }, 'operator logged out');
    },
    foreignRequest(name, path, why) {
      foreign.inc();
      log.warn({ event: 'foreign-request', account: name, path, why }, 'change refused');
    },
  };
}
