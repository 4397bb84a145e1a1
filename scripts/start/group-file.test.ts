import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { isAlive } from '../parts/lock.ts';
import { type GroupRecord, readGroup, settleWithPrevious, writeGroup } from './group-file.ts';
import { busyPorts } from './ports.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-group-'));
  path = join(folder, 'group.json');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const urls = { pocketbaseUrl: 'http://127.0.0.1:8090', sidecarUrl: 'http://127.0.0.1:8080', email: 'a@example.com', passwordFile: '/p' };
const record = (pid: number, parts: GroupRecord['parts'] = {}): GroupRecord => ({ pid, ...urls, parts });

/** A process that does nothing, with these words on its command line. */
async function idle(...words: string[]): Promise<number> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', ...words]);
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'spawn');
  return child.pid ?? 0;
}

async function deadPid(): Promise<number> {
  const child = spawn('true');
  await once(child, 'exit');
  return child.pid ?? 0;
}

describe('what an earlier group left', () => {
  it('is nothing on a new folder, or when the file is none of ours', async () => {
    expect(readGroup(path)).toBeNull();
    await settleWithPrevious(path, () => {});
    await writeFile(path, '{"pid": -1}');
    expect(readGroup(path)).toBeNull();
  });

  it('keeps a second group out while it runs', async () => {
    const pid = await idle('scripts/start.ts');
    await writeGroup(path, record(pid));
    await expect(settleWithPrevious(path, () => {})).rejects.toThrow(
      `already runs on this data folder (process ${pid}, http://127.0.0.1:8090)`,
    );
    expect(isAlive(pid)).toBe(true);
  });

  it('is stopped when only its parts are left', async () => {
    const lines: string[] = [];
    const part = await idle(folder);
    await writeGroup(path, record(await deadPid(), { clamd: { pid: part, mark: folder } }));
    await settleWithPrevious(path, (line) => lines.push(line));
    await eventually('the part is gone', () => !isAlive(part));
    expect(lines).toEqual([`stopping clamd (process ${part}), which outlived a killed npm start`]);
    expect(readGroup(path)).toBeNull();
  });

  it('leaves strangers alone that got a pid of old', async () => {
    const stranger = await idle('somebody else');
    await writeGroup(path, record(stranger, { clamd: { pid: stranger, mark: folder } }));
    await settleWithPrevious(path, () => {});
    expect(isAlive(stranger)).toBe(true);
  });
});

describe('a busy port', () => {
  it('is one sentence with the variable to change', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const sentences = await busyPorts('127.0.0.1', [{ port, part: 'PocketBase', variable: 'PB_PORT' }]);
    expect(sentences).toHaveLength(1);
    expect(sentences[0]).toMatch(
      new RegExp(
        `^Port ${port} \\(PocketBase\\) is in use: stop what uses it, or choose another one, for example PB_PORT=\\d+ npm start\\.$`,
      ),
    );
  });
});
