/**
 * The log of a build: `<build>.log`, one line each, `2026-11-21T16:08:12.345Z text`, and `<build>.idx` (build-log-index.ts).
 * Of a line that was cut, the number of bytes that are missing stands right behind the time (`…345Z~934211 text`), where no program
 * can write.
 */
import { join } from 'node:path';
import { completeLength } from './lines.ts';

/** Of the text of one line, as UTF-8. */
export const MAX_LINE_BYTES = 64 * 1024;

/** `null` for what can be no id of a build, and so no name of a file. */
export function logPaths(folder: string, buildId: string): { readonly log: string; readonly index: string } | null {
  if (!/^[0-9A-Za-z][\w-]{0,63}$/.test(buildId)) return null;
  return { log: join(folder, `${buildId}.log`), index: join(folder, `${buildId}.idx`) };
}

const lineStart = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)~(\d{1,15}) /;

/** A stored line apart: the text with its time, and what was cut off its end. */
export function parseLine(stored: string): { readonly text: string; readonly cutBytes: number } {
  const cut = lineStart.exec(stored);
  return cut === null ? { text: stored, cutBytes: 0 } : { text: `${cut[1]} ${stored.slice(cut[0].length)}`, cutBytes: Number(cut[2]) };
}

/** With its line break. Line breaks in the text become spaces; `cutBefore`: bytes of it that are missing already. */
export function storedLine(text: string, cutBefore: number): Buffer {
  const bytes = Buffer.from(/[\r\n]/.test(text) ? text.replace(/[\r\n]+/g, ' ') : text);
  const isLong = bytes.length > MAX_LINE_BYTES;
  const length = isLong ? completeLength(bytes.subarray(0, MAX_LINE_BYTES)) : bytes.length;
  const cutBytes = cutBefore + bytes.length - length;
  const start = `${new Date().toISOString()}${cutBytes === 0 ? '' : `~${cutBytes}`} `;
  return Buffer.concat([Buffer.from(start), bytes.subarray(0, length), Buffer.from('\n')]);
}
