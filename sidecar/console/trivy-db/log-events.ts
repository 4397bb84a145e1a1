/** From the stream of a log to what the browser needs of it: how many lines there are by now. It then asks for those it shows. */

const TELL_MS = 200;
/** Of a line of the stream, as much as an id or an event name takes; lines of the log may be megabytes. */
const KEPT_CHARACTERS = 128;
/** Then the browser comes back, and must still be logged in. */
const LIFE_MS = 5 * 60_000;

/**
 * Server-sent events `total` (a number of lines, at most five a second) and `end`, from those of `GET /api/logs/stream?build=`.
 * When the reader goes away, the stream it comes from is cancelled.
 */
export function totalsOf(stream: ReadableStream<Uint8Array>, buildId: string, lifeMs = LIFE_MS): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  const fields = new Fields();
  const encoder = new TextEncoder();
  let total = 0;
  let told = 0;
  let timer: NodeJS.Timeout | null = null;
  return new ReadableStream({
    start(controller) {
      const send = (text: string) => controller.enqueue(encoder.encode(text));
      const tell = () => {
        timer = null;
        if (total === told) return;
        told = total;
        send(`id: ${total}\nevent: total\ndata: ${total}\n\n`);
      };
      const pump = async () => {
        send('retry: 2000\n\n');
        const until = performance.now() + lifeMs;
        while (performance.now() < until) {
          const { done, value } = await reader.read();
          if (done) break;
          for (const [name, text] of fields.read(value)) {
            if (name === '') send(':\n\n');
            if (name === 'id' && text.startsWith(`${buildId}:`)) total = Number(text.slice(buildId.length + 1)) || total;
            if (name === 'event' && text === 'end') {
              tell();
              send('event: end\ndata:\n\n');
            }
          }
          timer ??= setTimeout(tell, TELL_MS);
        }
        tell();
        await reader.cancel();
      };
      pump()
        .then(() => controller.close())
        .catch((thrown) => {
          try {
            controller.error(thrown);
          } catch {
            // The viewer has left meanwhile.
          }
        })
        .finally(() => timer !== null && clearTimeout(timer));
    },
    async cancel() {
      if (timer !== null) clearTimeout(timer);
      timer = null;
      // A cancelled stream takes nothing more: the pump ends with its next read.
      await reader.cancel();
    },
  });
}

/** Lines `name: text` of a stream, each cut to what can matter here. A comment has the empty name. */
class Fields {
  readonly #decoder = new TextDecoder();
  #line = '';

  *read(bytes: Uint8Array): Generator<readonly [name: string, text: string]> {
    const pieces = this.#decoder.decode(bytes, { stream: true }).split('\n');
    for (const [index, piece] of pieces.entries()) {
      if (index > 0) {
        const [, name = null, text = ''] = /^([a-z]*): ?(.*)$/.exec(this.#line) ?? [];
        if (name !== null) yield [name, text];
        this.#line = '';
      }
      if (this.#line.length < KEPT_CHARACTERS) this.#line += piece.slice(0, KEPT_CHARACTERS);
    }
  }
}
