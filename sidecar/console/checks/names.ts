/** File names and signatures: chosen by strangers, so isolated, cut and shown with what hides in them. */
import { html } from 'hono/html';
import type { Html } from '../console-env.ts';

/** Control characters, and those that turn the direction of text or have no width: a name can lie with them. */
const HIDDEN = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** As it is, but for characters that cannot be seen: those by their number, like `[U+202E]`. */
export function visible(text: string): string {
  return text.replace(HIDDEN, (each) => `[U+${each.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}]`);
}

/** At most so many characters: the beginning and the end, where a file name says what it is. */
export function cutInTheMiddle(text: string, max: number): string {
  const characters = [...new Intl.Segmenter('en').segment(text)].map(({ segment }) => segment);
  if (characters.length <= max) return text;
  const tail = Math.floor((max - 1) / 2);
  return `${characters.slice(0, max - 1 - tail).join('')}…${characters.slice(-tail).join('')}`;
}

/** A name on its own, whatever direction it is written in; whole in its title where it was cut. */
export function foreignText(text: string, max = 48): Html {
  const whole = visible(text);
  const shown = cutInTheMiddle(whole, max);
  return shown === whole ? html`<bdi>${shown}</bdi>` : html`<bdi title="${whole}">${shown}</bdi>`;
}
