const COLOURS = { red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36, bold: 1 } as const;
export type Colour = keyof typeof COLOURS;

/** Whether a terminal reads this; NO_COLOR and FORCE_COLOR have the last word. */
export function coloursWanted(env: NodeJS.ProcessEnv = process.env, stream: { isTTY?: boolean } = process.stdout): boolean {
  if (env.NO_COLOR) return false;
  return env.FORCE_COLOR ? env.FORCE_COLOR !== '0' : stream.isTTY === true;
}

export function paint(colour: Colour, text: string, wanted = coloursWanted()): string {
  return wanted ? `\u001b[${COLOURS[colour]}m${text}\u001b[0m` : text;
}

/** Writes whole lines, each behind the name of the part that said it. */
export function prefixedLog(name: string, colour: Colour, write: (text: string) => void): (line: string) => void {
  const prefix = paint(colour, `${name.padEnd(10)} |`);
  return (line) => write(`${prefix} ${line}\n`);
}

/** Cuts a stream of chunks into lines; what follows the last line break is handed over by `end`. */
export function lineSplitter(take: (line: string) => void): { push(chunk: Buffer): void; end(): void } {
  const decoder = new TextDecoder();
  let rest = '';
  return {
    push(chunk) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) take(line.replace(/\r$/, ''));
    },
    end() {
      if (rest !== '') take(rest);
      rest = '';
    },
  };
}
