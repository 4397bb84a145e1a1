/** Addresses as limits count them, and networks of proxies. */
import ipaddr from 'ipaddr.js';

/** Whether an address is in one of them. `variable` names them where one is none: a proxy that nobody can be must not go unnoticed. */
export function networksOf(all: readonly string[], variable: string): (address: string | undefined) => boolean {
  const networks = all.map((text) => networkOf(text, variable));
  return (text) => {
    if (text === undefined || !ipaddr.isValid(text)) return false;
    const address = ipaddr.process(text);
    return networks.some(([network, bits]) => network.kind() === address.kind() && address.match(network, bits));
  };
}

/** An IPv6 customer has a /64 and could use a new address for every attempt. */
export function addressKey(address: string): string {
  if (!ipaddr.isValid(address)) return address.slice(0, 64);
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv6' ? (parsed as ipaddr.IPv6).parts.slice(0, 4).join(':') : parsed.toString();
}

function networkOf(text: string, variable: string): [ipaddr.IPv4 | ipaddr.IPv6, number] {
  try {
    if (text.includes('/')) return ipaddr.parseCIDR(text);
    const address = ipaddr.process(text);
    return [address, address.kind() === 'ipv4' ? 32 : 128];
  } catch {
    throw new Error(
      `${variable} holds ${JSON.stringify(text)}, which is neither an address nor a network. Example: 10.0.0.2,172.18.0.0/16`,
    );
  }
}
