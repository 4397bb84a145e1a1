/** The configuration as it may be printed. A member that is hidden by mistake is better than one that is shown by mistake. */
import type { Config } from './config.ts';

const SET = '(set)';

/** Secrets say only that they are set: those by name, the addresses of webhooks, and in any URL its user, password and query. */
export function withoutSecrets(config: Config): object {
  return JSON.parse(JSON.stringify(config, shown)) as object;
}

function shown(name: string, value: unknown): unknown {
  // Whoever knows the address of a webhook may often call it.
  if (name === 'urls' && Array.isArray(value)) return value.map(() => SET);
  if (typeof value !== 'string') return value;
  return /password|secret$|token$/i.test(name) ? SET : withoutCredentials(value);
}

function withoutCredentials(text: string): string {
  return text.replace(/:\/\/\S*@/g, `://${SET}@`).replace(/(:\/\/[^\s?#]*\?)[^\s#]+/g, `$1${SET}`);
}
