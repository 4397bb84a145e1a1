import { createLook } from '../../sidecar/clamd/formats/look.ts';

/** What a look says of a file that streams by; each chunk is destroyed behind it, as streams do. */
export function lookAt(bytes: Uint8Array, { chunkLength = 65_536, unpacksRar = false } = {}): string | null {
  const look = createLook(bytes.length, { unpacksRar });
  for (let at = 0; at < bytes.length; at += chunkLength) {
    const chunk = Uint8Array.from(bytes.subarray(at, at + chunkLength));
    look.push(chunk);
    chunk.fill(0xee);
  }
  return look.end();
}
