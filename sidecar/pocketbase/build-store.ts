/** The BuildStore port over the file route of our hooks. */
import { Agent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { BuildStore } from '../scan/ports.ts';
import { type DownloadLimits, defaultLimits, RangedDownload } from './ranged-download.ts';
import type { TokenSource } from './session.ts';

export interface BuildStoreOptions {
  readonly url: string;
  readonly tokens: TokenSource;
  readonly limits?: Partial<DownloadLimits>;
}

/** Shorter than PocketBase keeps an idle connection, so that it is we who end it. */
const IDLE_MS = 60_000;

export function createBuildStore({ url, tokens, limits }: BuildStoreOptions): BuildStore & Disposable {
  const base = new URL(url.endsWith('/') ? url : `${url}/`);
  const options = { keepAlive: true, noDelay: true, timeout: IDLE_MS, scheduling: 'lifo' } as const;
  const agent = base.protocol === 'https:' ? new HttpsAgent(options) : new Agent(options);
  return {
    open(check, file, signal) {
      const path = `api/av/checks/${encodeURIComponent(check.id)}/files/${encodeURIComponent(file.name)}`;
      const source = { url: new URL(path, base), lease: check.lease.token, agent, tokens };
      return RangedDownload.open(source, { ...defaultLimits, ...limits }, signal);
    },
    [Symbol.dispose]() {
      agent.destroy();
    },
  };
}
