import { once } from 'node:events';
import { createServer } from 'node:net';

export interface WantedPort {
  readonly port: number;
  readonly part: string;
  readonly variable: string;
}

/** One sentence for every port that somebody else holds, with the variable that chooses another. */
export async function busyPorts(host: string, wanted: readonly WantedPort[]): Promise<string[]> {
  const sentences = await Promise.all(
    wanted.map(async ({ port, part, variable }) => {
      const code = await listenError(host, port);
      if (code === null) return [];
      const why = code === 'EADDRINUSE' ? 'is in use' : code === 'EACCES' ? 'needs root' : `cannot be used (${code})`;
      return [
        `Port ${port} (${part}) ${why}: stop what uses it, or choose another one, for example ${variable}=${port + 10_000 > 65_535 ? 18_000 : port + 10_000} npm start.`,
      ];
    }),
  );
  return sentences.flat();
}

async function listenError(host: string, port: number): Promise<string | null> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
