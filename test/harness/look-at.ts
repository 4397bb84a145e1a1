import { createLook } from '../../sidecar/clamd/formats/look.ts';

/** What a look says of a file that streams by; each chunk is destroyed behind it, as streams do. */
export async function lookAt(bytes: Uint8Array, { chunkLength = 65_536, unpacksRar = false } = {}): Promise<string | null> {
  const look = createLook(bytes.length, { unpacksRar });
  for (let at = 0; at < bytes.length; at += chunkLength) {
    const chunk = Uint8Array.from(bytes.subarray(at, at + chunkLength));
    await look.push(chunk);
    chunk.fill(0xee);
  }
  const reason = await look.end();
  look.close();
  return reason;
}
