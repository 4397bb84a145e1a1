import { describe, expect, it } from 'vitest';
import { resolveAddress, splitAddress } from './addresses.ts';

describe('splitAddress', () => {
  it.each([
    ['127.0.0.1:3310', { host: '127.0.0.1', port: 3310 }],
    ['clamd:3310', { host: 'clamd', port: 3310 }],
    ['[::1]:65535', { host: '::1', port: 65535 }],
  ])('takes %s apart', (address, parts) => {
    expect(splitAddress(address)).toEqual(parts);
  });

  it.each(['clamd', 'clamd:', ':3310', 'clamd:0', 'clamd:65536', '::1:3310', 'a b:1', 'http://clamd:3310', ''])('refuses %j', (address) => {
    expect(() => splitAddress(address)).toThrow('host:port');
  });
});

describe('resolveAddress', () => {
  it('takes an IP address as it is', async () => {
    expect(await resolveAddress('[::1]:3310')).toEqual([{ host: '::1', port: 3310, name: '[::1]:3310' }]);
  });

  it('turns a name into IP addresses', async () => {
    const found = await resolveAddress('localhost:3310');
    expect(found.length).toBeGreaterThan(0);
    for (const { host, name } of found) {
      expect(['127.0.0.1', '::1']).toContain(host);
      expect(name).toBe(found.length === 1 ? 'localhost:3310' : host === '::1' ? 'localhost/[::1]:3310' : 'localhost/127.0.0.1:3310');
    }
  });

  it('says which name is unknown', async () => {
    await expect(resolveAddress('no-such-host.invalid:3310')).rejects.toMatchObject({
      code: 'engine-unavailable',
      message: expect.stringContaining('no-such-host.invalid'),
    });
  });
});
