import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';

const streamName = Buffer.from('EncryptedPackage', 'utf16le');
/** Entries of the directory are as long as this, and every sector is a multiple of it. */
const entryLength = 128;
const nameLengthAt = 64;

/**
 * Office files with a password are an OLE2 container with one stream of this name; ClamAV 1.4 calls them clean. The directory
 * may lie in any sector, so every one that passes by is searched for the entry.
 */
export class Ole2Look implements Look {
  #offset = 0;
  #rest = Buffer.alloc(0);
  #found = false;

  push(chunk: Uint8Array): void {
    if (this.#found) return;
    const bytes = Buffer.concat([this.#rest, chunk]);
    const base = this.#offset - this.#rest.length;
    for (let at = bytes.indexOf(streamName); at >= 0; at = bytes.indexOf(streamName, at + 1)) {
      if ((base + at) % entryLength === 0 && this.#isEntry(bytes, at)) this.#found = true;
    }
    this.#offset += chunk.length;
    // An entry may be cut in two: the last ones are looked at again with what follows.
    this.#rest = bytes.subarray(Math.max(0, bytes.length - entryLength));
  }

  #isEntry(bytes: Buffer, at: number): boolean {
    return bytes.length >= at + nameLengthAt + 2 && bytes.readUInt16LE(at + nameLengthAt) === streamName.length + 2;
  }

  end(): UnscannableReason | null {
    return this.#found ? 'unscannable:encrypted' : null;
  }

  close(): void {}
}
