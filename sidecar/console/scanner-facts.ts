/** What the scanner role says of itself, asked over HTTP. */
import { z } from 'zod';
import { type ScannerAnswer, scannerAnswer } from './checks/scanner-api.ts';
import type { PeerFetch } from './console-env.ts';

export type EngineFact = ScannerAnswer['engines'][number];

export type ScannerFacts =
  /** No scanner is known to this console. */
  | { readonly kind: 'none' }
  | { readonly kind: 'silent'; readonly why: string }
  | {
      readonly kind: 'speaks';
      readonly engines: readonly EngineFact[] /** Null where it does not tell. */;
      readonly scanning: number | null;
    };

const readyAnswer = z.object({
  parts: z.object({
    engines: z.object({
      each: z.array(
        z.object({
          name: z.string(),
          ready: z.boolean(),
          why: z.string().nullable(),
          version: z.string().nullable(),
          signatures: z.union([z.number(), z.literal('test')]).nullable(),
        }),
      ),
    }),
  }),
});

/** Never rejects. A scanner of an older version, which has no route for this, is known by its readiness. */
export async function askScanner(peer: PeerFetch | null, signal: AbortSignal): Promise<ScannerFacts> {
  if (peer === null) return { kind: 'none' };
  try {
    const answer = await peer('/api/scanner', { signal });
    if (answer.ok) {
      const { engines, queue } = scannerAnswer.parse(await answer.json());
      return { kind: 'speaks', engines, scanning: queue.scanning };
    }
    await answer.body?.cancel();
    if (answer.status === 401 || answer.status === 403)
      return { kind: 'silent', why: 'The scanner refuses this console: give both the same OPERATOR_TOKEN.' };
    const ready = readyAnswer.parse(await (await peer('/readyz', { signal })).json());
    return { kind: 'speaks', engines: ready.parts.engines.each.map((each) => ({ ...each, signaturesAt: null })), scanning: null };
  } catch (thrown) {
    const isForeign = thrown instanceof z.ZodError || thrown instanceof SyntaxError;
    return {
      kind: 'silent',
      why: isForeign ? 'What answers as the scanner is none, or of another version.' : 'The scanner does not answer.',
    };
  }
}
