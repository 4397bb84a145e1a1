import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { ScanError } from '../scan/errors.ts';
import type { Endpoint } from './command.ts';

export interface NamedEndpoint extends Endpoint {
  /** For people and metrics: as configured, and with the IP address where a name has several. */
  readonly name: string;
}

/**
 * `host:port` (IPv6 in brackets) as configured → the engines behind it now. A name with several addresses is several engines.
 * @throws ScanError `engine-unavailable` when the name does not resolve.
 */
export async function resolveAddress(address: string): Promise<readonly NamedEndpoint[]> {
  const { host, port } = splitAddress(address);
  if (isIP(host) !== 0) return [{ host, port, name: address }];
  const found = await addressesOf(host);
  const unique = [...new Set(found)].sort();
  return unique.map((ip) => ({
    host: ip,
    port,
    name: unique.length === 1 ? address : `${host}/${isIP(ip) === 6 ? `[${ip}]` : ip}:${port}`,
  }));
}

/** @throws Error for what is not `host:port`. */
export function splitAddress(address: string): Endpoint {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65535) throw new Error(`not an address of the form host:port: ${JSON.stringify(address)}`);
  return { host: match[1] ?? match[2]!, port };
}

async function addressesOf(host: string): Promise<readonly string[]> {
  try {
    return (await lookup(host, { all: true })).map((entry) => entry.address);
  } catch (thrown) {
    throw new ScanError('engine-unavailable', `the name ${host} does not resolve`, { cause: thrown });
  }
}
