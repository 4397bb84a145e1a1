import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { boundToParent } from '../parts/bound-to-parent.ts';
import { run, runOrThrow } from '../parts/run.ts';
import { GREETING } from './network.ts';

export interface Outside {
  /** Listens there, and knows no way back to the container networks: as the internet does not. */
  readonly address: string;
  readonly port: number;
  remove(): Promise<void>;
}

const HOST = '198.51.100.1';
const ADDRESS = '198.51.100.2';
const PORT = 4321;

/** A machine on the other side of this one, in a network namespace of its own, to try ways out against. */
export async function makeOutside(): Promise<Outside> {
  const name = `pw${process.pid}`;
  const ip = (...args: string[]) => runOrThrow('ip', args);
  await ip('netns', 'add', name);
  const server = `require('node:net').createServer((socket) => socket.on('error', () => {}).end('${GREETING}')).listen(${PORT}, () => console.log('up'))`;
  let stopServer = async () => {};
  const remove = async () => {
    await stopServer();
    await run('ip', ['link', 'delete', name]);
    await run('ip', ['netns', 'delete', name]);
  };
  try {
    await ip('link', 'add', name, 'type', 'veth', 'peer', 'name', 'outside', 'netns', name);
    await ip('address', 'add', `${HOST}/24`, 'dev', name);
    await ip('link', 'set', name, 'up');
    await ip('-n', name, 'address', 'add', `${ADDRESS}/24`, 'dev', 'outside');
    await ip('-n', name, 'link', 'set', 'outside', 'up');
    const child = spawn(...boundToParent('ip', ['netns', 'exec', name, process.execPath, '-e', server], 'KILL'), {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    stopServer = async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    };
    await once(child.stdout, 'data');
  } catch (error) {
    await remove();
    throw error;
  }
  return { address: ADDRESS, port: PORT, remove };
}
