declare module 'clamdjs' {
  import type { Readable } from 'node:stream';

  export function createScanner(host: string, port: number): { scanStream(source: Readable, timeoutMs: number): Promise<string> };
}
