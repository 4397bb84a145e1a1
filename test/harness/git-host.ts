/** A host of git repositories on loopback, which counts what it sends and can stop in the middle of it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';

export interface GitHost extends AsyncDisposable {
  /** `git://…/name` */
  url(name: string): string;
  /** Bytes sent to all clients so far. */
  sent(): number;
  /** So many more are sent, and then nothing: connections stay silent, or are `cut`. */
  stopAfter(bytes: number, how: 'silent' | 'cut'): void;
  goOn(): void;
}

/** Serves the repositories in `folder`. */
export async function startGitHost(folder: string): Promise<GitHost> {
  const clients = new Map<Socket, ChildProcess>();
  let sent = 0;
  let stop: { readonly at: number; readonly how: 'silent' | 'cut' } | null = null;
  const send = (socket: Socket, chunk: Buffer) => {
    const left = stop === null ? chunk.length : Math.min(chunk.length, stop.at - sent);
    if (left > 0) socket.write(chunk.subarray(0, left));
    sent += Math.max(0, left);
    if (left < chunk.length && stop?.how === 'cut') socket.resetAndDestroy();
  };
  const server = createServer((socket) => {
    const daemon = spawn('git', ['daemon', '--inetd', '--export-all', `--base-path=${folder}`, folder], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    clients.set(socket, daemon);
    daemon.stdout!.on('data', (chunk: Buffer) => send(socket, chunk));
    daemon.stdout!.once('end', () => stop === null && socket.end());
    daemon.stdin!.on('error', () => {});
    socket.pipe(daemon.stdin!);
    socket.on('error', () => {});
    socket.once('close', () => {
      daemon.kill();
      clients.delete(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: (name) => `git://127.0.0.1:${port}/${name}`,
    sent: () => sent,
    stopAfter(bytes, how) {
      stop = { at: sent + bytes, how };
    },
    goOn() {
      stop = null;
      for (const socket of clients.keys()) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of clients.keys()) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/**
 * Commits `files` to the branch main of a repository, which is made where there is none; those that it had and that are not named are gone.
 * Settings as git's `-c` takes them stay with the repository.
 */
export async function commitFiles(
  repository: string,
  files: ReadonlyMap<string, Uint8Array>,
  settings: readonly string[] = [],
): Promise<void> {
  await mkdir(repository, { recursive: true });
  const git = (args: readonly string[], input?: NodeJS.ArrayBufferView) =>
    execFileSync('git', args, { cwd: repository, stdio: 'pipe', ...(input && { input }) });
  git(['init', '-q', '--bare', '-b', 'main']);
  for (const setting of settings) git(['config', ...setting.split('=')]);
  const commit = ['commit refs/heads/main\n', 'committer test <test@example.com> 0 +0000\n', 'data 5\nlists\n'];
  const parts: Uint8Array[] = [Buffer.from(commit.join(''))];
  parts.push(Buffer.from('deleteall\n'));
  for (const [path, bytes] of files) parts.push(Buffer.from(`M 644 inline ${path}\ndata ${bytes.length}\n`), bytes, Buffer.from('\n'));
  git(['fast-import', '--quiet', '--force'], Buffer.concat(parts));
}

/** What a partial clone asks for, as public hosts allow it. */
export const allowsPartial = ['uploadpack.allowFilter=true', 'uploadpack.allowAnySHA1InWant=true'];
