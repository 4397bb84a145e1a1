import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ArchiverName, Archivers } from '../../scripts/parts/archivers.ts';

/** Real archivers at work in a folder of their own, on one file. */
export interface Packers extends AsyncDisposable {
  /** What the archiver writes to `into`, given the file `name` with this content in its folder. */
  pack(archiver: ArchiverName, args: readonly string[], into: string, data: Buffer): Promise<Buffer>;
  /** What it writes to its output, however it ends; `prepare` puts there what it reads. */
  attempt(archiver: ArchiverName, args: readonly string[], prepare: () => Promise<void>): Promise<Buffer>;
  /** A file of theirs that may be written. */
  readonly file: string;
  /** A program of this machine. */
  program(): Promise<Buffer>;
  /** What it writes to its output, given the content on its input. */
  pipe(archiver: ArchiverName, args: readonly string[], data: Buffer | string): Promise<Buffer>;
}

/** The file that every archive is made of. */
export const packedName = 'content/member.bin';

export async function createPackers({ bin, env }: Archivers): Promise<Packers> {
  const folder = await mkdtemp(join(tmpdir(), 'pocketwarden-packers-'));
  let count = 0;
  const attempt = async (archiver: ArchiverName, args: readonly string[], cwd: string, input: Buffer | string) => {
    const child = spawn(bin[archiver], args, { cwd, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    const [code] = await once(child, 'close');
    return { code, output: Buffer.concat(output), errors: Buffer.concat(errors) };
  };
  const run = async (archiver: ArchiverName, args: readonly string[], cwd: string, input: Buffer | string): Promise<Buffer> => {
    const { code, output, errors } = await attempt(archiver, args, cwd, input);
    if (code !== 0) throw new Error(`${archiver} ${args.join(' ')} ended with ${code}: ${errors}${output}`);
    return output;
  };
  return {
    async pack(archiver, args, into, data) {
      const cwd = join(folder, String(count++));
      await mkdir(join(cwd, dirname(packedName)), { recursive: true });
      await writeFile(join(cwd, packedName), data);
      await run(archiver, args, cwd, `${packedName}\n`);
      return readFile(join(cwd, into));
    },
    file: join(folder, 'file'),
    async attempt(archiver, args, prepare) {
      await prepare();
      return (await attempt(archiver, args, folder, '')).output;
    },
    program: () => readFile(bin.lzop),
    pipe: (archiver, args, data) => run(archiver, args, folder, data),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
