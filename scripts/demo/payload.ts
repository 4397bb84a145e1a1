import { randomBytes } from 'node:crypto';

/** A file that is made while it is sent, so that its size costs no memory. */
export interface Payload {
  readonly name: string;
  readonly size: number;
  chunks(): Iterable<Buffer>;
}

export function inMemory(name: string, content: Buffer): Payload {
  return { name, size: content.length, chunks: () => [content] };
}

const BLOCK = 2 ** 20;

/** Incompressible bytes, the same in every pass, different for every payload. */
export function randomPayload(name: string, mebibytes: number): Payload {
  const block = randomBytes(BLOCK);
  return {
    name,
    size: mebibytes * BLOCK,
    *chunks() {
      for (let number = 0; number < mebibytes; number++) {
        const chunk = Buffer.from(block);
        chunk.writeUInt32LE(number, 0);
        yield chunk;
      }
    },
  };
}
