/** Where webhooks go, and who may be told: never an address inside our own network unless it was named. */
import { createHash } from 'node:crypto';
import { lookup as dnsLookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

export interface Endpoint {
  /** Stands for the URL in PocketBase, pages and logs: a URL may hold a secret. */
  readonly id: string;
  readonly url: URL;
}

/** `host-1a2b3c4d`: readable, and different for two URLs of one host. */
export function endpointOf(text: string): Endpoint {
  const url = new URL(text);
  return { id: `${url.host.slice(0, 80)}-${createHash('sha256').update(url.href).digest('hex').slice(0, 8)}`, url };
}

/** Whether an address is reachable for everybody, so that a request to it shows nothing of our own network. */
export function isPublic(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.process(address).range() === 'unicast';
}

/**
 * A lookup that answers public addresses alone, so that the address that was judged is the one that is connected to, whatever the name
 * server says the second time. `allowed` are the hosts that may be private.
 */
export function guardedLookup(allowed: ReadonlySet<string>, resolve: typeof dnsLookup = dnsLookup): LookupFunction {
  return (host, options, done) => {
    resolve(host, { ...options, all: true }, (error, found) => {
      if (error) return done(error, []);
      const addresses = found.filter(({ address }) => allowed.has(host.toLowerCase()) || allowed.has(address) || isPublic(address));
      const [first] = addresses;
      if (first === undefined) return done(new Error(refusalOf(host)), []);
      if (options.all) return done(null, addresses);
      done(null, first.address, first.family);
    });
  };
}

/** Literal addresses are never looked up, so they are judged here. Null when it may be asked. */
export function literalProblem(url: URL, allowed: ReadonlySet<string>): string | null {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  if (!ipaddr.isValid(host) || allowed.has(host) || isPublic(host)) return null;
  return refusalOf(host);
}

function refusalOf(host: string): string {
  return `${host} is a private address: name it in RESULT_WEBHOOK_PRIVATE_HOSTS if it is meant`;
}
