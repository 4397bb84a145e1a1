import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';

/** Of Office since 2007, and of PowerPoint before. */
const streamNames = ['EncryptedPackage', 'EncryptedSummary'].map((name) => Buffer.from(name, 'utf16le'));
/** Entries of the directory are as long as this, and every sector is a multiple of it. */
const entryLength = 128;
const nameLengthAt = 64;
/** Streams begin at such offsets, the smallest of them too. */
const smallestSector = 64;

/**
 * Office files with a password: an OLE2 container with one stream of a certain name, or with a document whose first bytes say so
 * ([MS-DOC] 2.5.1 FibBase, [MS-XLS] 2.4.117 FilePass). ClamAV 1.4 calls them clean. Directory and documents may lie in any sector, so
 * every one that passes by is looked at.
 */
export class Ole2Look implements Look {
  #offset = 0;
  #rest = Buffer.alloc(0);
  #found = false;

  push(chunk: Uint8Array): void {
    if (this.#found) return;
    const bytes = Buffer.concat([this.#rest, chunk]);
    const base = this.#offset - this.#rest.length;
    this.#found = streamNames.some((name) => hasEntry(bytes, base, name)) || hasDocument(bytes, base);
    this.#offset += chunk.length;
    // An entry may be cut in two: the last ones are looked at again with what follows.
    this.#rest = Buffer.from(bytes.subarray(Math.max(0, bytes.length - entryLength)));
  }

  end(): UnscannableReason | null {
    return this.#found ? 'unscannable:encrypted' : null;
  }

  close(): void {}
}

function hasEntry(bytes: Buffer, base: number, name: Buffer): boolean {
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1)) {
    const isWhole = bytes.length >= at + nameLengthAt + 2;
    if ((base + at) % entryLength === 0 && isWhole && bytes.readUInt16LE(at + nameLengthAt) === name.length + 2) return true;
  }
  return false;
}

function hasDocument(bytes: Buffer, base: number): boolean {
  const first = (smallestSector - (base % smallestSector)) % smallestSector;
  for (let at = first; at + smallestSector <= bytes.length; at += smallestSector) {
    const start = bytes.readUInt16LE(at);
    if ((start === 0xa5ec && isEncryptedWord(bytes, at)) || (start === 0x0809 && isEncryptedWorkbook(bytes, at))) return true;
  }
  return false;
}

function isEncryptedWord(bytes: Buffer, at: number): boolean {
  const version = bytes.readUInt16LE(at + 2);
  return version >= 0x65 && version <= 0x112 && (bytes.readUInt16LE(at + 10) & 0x0100) !== 0;
}

/** The record behind the first one. */
function isEncryptedWorkbook(bytes: Buffer, at: number): boolean {
  const length = bytes.readUInt16LE(at + 2);
  return length <= 16 && bytes.readUInt16LE(at + 4) <= 0x0600 && bytes.readUInt16LE(at + 4 + length) === 0x002f;
}
