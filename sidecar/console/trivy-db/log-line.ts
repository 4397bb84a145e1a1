/** One line of a log as HTML. What it says is hostile: it may come from any vulnerability list, or from a program that it broke. */
import { AnsiUp } from 'ansi_up';
import { html } from 'hono/html';

/** Characters of a line that are shown before somebody asks for all of it. */
export const SHOWN_CHARACTERS = 2000;

/** What the builder writes before every line: the time in UTC and the phase. */
export const PREFIX = /^(\d{4}-\d\d-\d\dT[\d:.]{8,12}Z) ([a-z]{1,16}): /;

export const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type Level = (typeof levels)[number];

/** Terminal escapes of every kind: CSI, OSC, DCS and its like, and the two-character ones. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it looks for them
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: it looks for them
const TEXT_STYLE = /^\x1b\[[\d;]{0,64}m$/;
/** What stays of an escape that is none, and every other control character but the tab. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it looks for them
const CONTROLS = /[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f]|\x1b(?!\[[\d;]{0,64}m)/g;
/** C1 controls; characters that turn the direction of what follows, or that nobody sees. */
const UNSEEN = /[\u0080-\u009f\u2028\u2029]|\p{Cf}/gu;
const LEVEL = /^(.{0,72}?\b)(TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL|PANIC)\b/;

/**
 * Text that shows all that is there: no escape is left but those of text style, no character can turn the direction of the line, move
 * the cursor or hide. What is taken out is named, never dropped, except for escapes without text of their own.
 */
export function visible(text: string): string {
  return text
    .replace(/\r+$/, '')
    .replace(ESCAPES, (found) => (TEXT_STYLE.test(found) ? found : ''))
    .replace(CONTROLS, (control) => (control === '\x7f' ? '\u2421' : String.fromCharCode(0x2400 + control.charCodeAt(0))))
    .replace(UNSEEN, (unseen) => `[U+${unseen.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}]`);
}

/** What `visible` shows, without its style: what one searches in. */
export function plain(text: string): string {
  return visible(text).replace(ESCAPES, '');
}

/** The level that a line names near its beginning, or null. */
export function levelOf(text: string): Level | null {
  const word = LEVEL.exec(withoutStyle(text))?.[2]?.toLowerCase();
  if (word === undefined) return null;
  if (word === 'warning') return 'warn';
  return word === 'panic' ? 'fatal' : (word as Level);
}

/** Only as many characters as are shown at first; never half of one. */
export function shortened(text: string): { readonly shown: string; readonly hidden: number } {
  if (text.length <= SHOWN_CHARACTERS) return { shown: text, hidden: 0 };
  const isHalf = /[\ud800-\udbff]/.test(text.charAt(SHOWN_CHARACTERS - 1));
  const shown = text.slice(0, isHalf ? SHOWN_CHARACTERS - 1 : SHOWN_CHARACTERS);
  return { shown, hidden: text.length - shown.length };
}

/** Escaped HTML; colours and weights of the terminal become classes, because the policy of the pages allows no style attribute. */
export function lineHtml(text: string): string {
  const [prefix = '', time = '', phase = ''] = PREFIX.exec(text) ?? [];
  if (prefix === '') return bodyHtml(text);
  return `<span class="log-time">${time} ${phase}:</span> ${bodyHtml(text.slice(prefix.length))}`;
}

function bodyHtml(text: string): string {
  const seen = visible(text);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it looks for them
  if (/\x1b/.test(seen)) return styled(seen);
  const found = LEVEL.exec(seen);
  const [, before = '', word = ''] = found ?? [];
  if (found === null) return escaped(seen);
  return `${escaped(before)}<b>${word}</b>${escaped(seen.slice(before.length + word.length))}`;
}

function styled(text: string): string {
  const terminal = new AnsiUp();
  terminal.use_classes = true;
  // Links of a terminal are taken out before, text and all addresses stay text.
  terminal.url_allowlist = {};
  terminal.boldStyle = 'ansi-bold';
  terminal.faintStyle = 'ansi-faint';
  terminal.italicStyle = 'ansi-italic';
  terminal.underlineStyle = 'ansi-underline';
  // The text in it is escaped, so only tags that ansi_up wrote match. Colours outside the sixteen named ones have no class: they are left out.
  return terminal.ansi_to_html(text).replace(/<span(?: style="([^"]*)")?(?: class="([^"]*)")?>/g, (_tag, style = '', names = '') => {
    const classes = [...style.split(';').filter((each: string) => each.startsWith('ansi-')), ...names.split(' ')].filter(
      (each) => each !== '',
    );
    return classes.length === 0 ? '<span>' : `<span class="${classes.join(' ')}">`;
  });
}

function withoutStyle(text: string): string {
  return text.slice(0, 256).replace(ESCAPES, '');
}

function escaped(text: string): string {
  return html`${text}`.toString();
}
