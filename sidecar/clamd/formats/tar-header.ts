/** One header block of a tar archive, read as strictly as clamd has to be protected from (cli_untar and is_tar of 1.4). */

export const blockLength = 512;

export interface TarHeader {
  readonly type: string;
  /** As the header says; a pax header in front may say otherwise. */
  readonly size: number;
  readonly isUstar: boolean;
  /** Its name ends like that of a folder. */
  readonly isFolder: boolean;
}

const sumAt = 148;
const sumLength = 8;

/** Null where no reader would take it for a header. */
export function readTarHeader(block: Buffer): TarHeader | 'unclear' | null {
  const told = octal(block.subarray(sumAt, sumAt + sumLength));
  if (told === null || !sums(block).includes(told)) return null;
  const size = octal(block.subarray(124, 136));
  // clamd stops at an empty name, which only other readers find elsewhere; and it knows no sizes but octal ones.
  if (size === null || block[0] === 0) return 'unclear';
  return {
    type: String.fromCharCode(block[156]!),
    size,
    isUstar: block.toString('latin1', 257, 262) === 'ustar',
    isFolder: /^[^\0]*\/(?:\0|$)/.test(block.toString('latin1', 0, 100)),
  };
}

/** As POSIX counts, and as some old programs did. */
function sums(block: Buffer): readonly number[] {
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < blockLength; at++) {
    const byte = at >= sumAt && at < sumAt + sumLength ? 0x20 : block[at]!;
    unsigned += byte;
    signed += (byte << 24) >> 24;
  }
  return [unsigned, signed];
}

/** Digits, perhaps with spaces in front, and nothing behind them but spaces and zeros. */
function octal(field: Buffer): number | null {
  const digits = /^ *([0-7]+)[ \0]*$/.exec(field.toString('latin1'))?.[1];
  return digits === undefined ? null : Number.parseInt(digits, 8);
}

/** Whether a file that begins so is a tar: other readers go by the sum of its first header, clamd first by its mark. */
export function isTar(head: Buffer): boolean {
  return head.length >= blockLength && readTarHeader(head.subarray(0, blockLength)) !== null;
}
