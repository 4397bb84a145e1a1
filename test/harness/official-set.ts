/** What clamd takes for an official daily set: it asks an unsigned `.cud` for number and date, and believes them. */
import { createHash } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { tarOf } from '../../sidecar/clamd/payloads.ts';

const tarEnd = 1024;
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** A daily set with one hash that nothing has. clamd names its number and date in VERSION once it has loaded it. */
export async function writeDaily(database: string, number: number, at: Date = new Date()): Promise<void> {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${two(at.getUTCDate())} ${months[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
  const time = `${day} ${two(at.getUTCHours())}-${two(at.getUTCMinutes())} +0000`;
  const seconds = Math.floor(at.getTime() / 1000);
  const header = `ClamAV-VDB:${time}:${number}:1:90:${'0'.repeat(32)}:unsigned:test:${seconds}`;
  const hashes = Buffer.from(`${'0'.repeat(64)}:1:Never.Found:73\n`);
  const listed = `daily.hsb:${hashes.length}:${createHash('sha256').update(hashes).digest('hex')}`;
  const members = [tarOf('daily.info', Buffer.from(`${header}\n${listed}\n`)), tarOf('daily.hsb', hashes)];
  const tar = Buffer.concat([...members.map((member) => member.subarray(0, -tarEnd)), Buffer.alloc(tarEnd)]);
  await writeFile(join(database, '.daily.tmp'), Buffer.concat([Buffer.from(header.padEnd(512)), gzipSync(tar)]));
  await rename(join(database, '.daily.tmp'), join(database, 'daily.cud'));
}
