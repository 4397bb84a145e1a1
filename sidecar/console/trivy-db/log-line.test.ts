import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { levelOf, lineHtml, SHOWN_CHARACTERS, shortened, visible } from './log-line.ts';

const tags = /<(?!\/?(?:b|span)\b)/;

describe('a hostile line', () => {
  it.each([
    ['markup', '<script>alert(1)</script>', '&lt;script&gt;alert(1)&lt;/script&gt;'],
    [
      'markup in colour',
      '\x1b[31m<img src=x onerror=alert(1)>\x1b[0m',
      '<span class="ansi-red-fg">&lt;img src=x onerror=alert(1)&gt;</span>',
    ],
    ['a link of the terminal', 'a \x1b]8;;https://evil.example/\x1b\\click\x1b]8;;\x1b\\ b', 'a click b'],
    ['a javascript link', '\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07', 'click'],
    ['a window title', '\x1b]0;owned\x07text', 'text'],
    ['moves of the cursor', 'safe\x1b[2K\x1b[1A\x1b[10Cmore', 'safemore'],
    ['an escape that never ends', 'before \x1b[31 after', 'before fter'],
    ['a title that never ends', 'before \x1b]0;after', 'before ␛]0;after'],
    ['a lone escape', 'a\x1b', 'a␛'],
    ['overwriting', 'real\rfake', 'real␍fake'],
    ['other controls', 'a\x00b\x07c\x7fd', 'a␀b␇c␡d'],
    ['a turned direction', 'gpj.\u202eexe.', 'gpj.[U+202E]exe.'],
    ['unseen characters', 'a\u200bb\ufeffc\u2066d', 'a[U+200B]b[U+FEFF]c[U+2066]d'],
    ['characters of no width', 'pass\u00adword\u{e0041}', 'pass[U+00AD]word[U+E0041]'],
    ['bytes that were no UTF-8', 'a\ufffdb', 'a\ufffdb'],
    [
      'a style attribute in colour',
      '\x1b[1m<span style="color:red" class="x">',
      '<span class="ansi-bold">&lt;span style=&quot;color:red&quot; class=&quot;x&quot;&gt;</span>',
    ],
  ])('shows %s as text', (_name, text, shown) => {
    expect(lineHtml(text).replaceAll('&#39;', "'").replaceAll('&#x27;', "'")).toBe(shown);
  });

  it('never becomes markup of its own, nor hides or turns anything', () => {
    const pieces = fc.constantFrom(
      '\x1b',
      '[',
      ']',
      '8;;',
      '31m',
      '1;4m',
      '38;2;1;2;3m',
      '\x07',
      '\\',
      '<',
      '>',
      '"',
      'style="',
      'class="',
      '\u202e',
      'ERROR ',
      'a',
      '\r',
      '\x9b',
      'é',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (all) => {
        const made = lineHtml(all.join(''));
        expect(made).not.toMatch(tags);
        expect(made).not.toMatch(/<[^>]*\s(?:style|href|on\w+)=/);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be left
        expect(made).not.toMatch(/[\x00-\x08\x0a-\x1f\x80-\x9f\u202e]/);
      }),
      { numRuns: 2000 },
    );
  });

  it('of a megabyte of escapes is read in a moment', () => {
    for (const piece of ['\x1b]', '\x1b[', '\x1b[1m', '\x1b[1;', '\x1bP', 'ERROR', '\r', '1']) {
      const started = performance.now();
      lineHtml(piece.repeat(1_000_000 / piece.length));
      expect(performance.now() - started, JSON.stringify(piece)).toBeLessThan(5000);
    }
  });
});

describe('style', () => {
  it('becomes classes', () => {
    expect(lineHtml('\x1b[1;4;32mok\x1b[0m then \x1b[97;41mbad')).toBe(
      '<span class="ansi-bold ansi-underline ansi-green-fg">ok</span> then <span class="ansi-bright-white-fg ansi-red-bg">bad</span>',
    );
  });
  it('leaves out colours that no class is for', () => {
    expect(lineHtml('\x1b[38;2;255;0;0mred\x1b[38;5;200mpink\x1b[38;5;1mred')).toBe(
      '<span>red</span><span>pink</span><span class="ansi-red-fg">red</span>',
    );
  });
  it('of one line does not run into the next', () => {
    lineHtml('\x1b[31mred');
    expect(lineHtml('\x1b[1mbold')).toBe('<span class="ansi-bold">bold</span>');
  });
});

describe('the level', () => {
  it.each([
    ['2026/11/21 16:08:12 INFO [nvd] Updating data...', 'info'],
    ['2026/11/21 16:08:12 WARN [nvd] no such file', 'warn'],
    ['WARNING: old', 'warn'],
    ['2026/11/21 16:08:12 ERROR Oops: build error', 'error'],
    ['2026/11/21 16:08:12 FATAL gone', 'fatal'],
    ['2026-11-21T16:08:12.123Z compress: 2026/11/21 16:08:12 ERROR Oops', 'error'],
    ['\x1b[31mERROR\x1b[0m in colour', 'error'],
    ['MISINFORMATION is no level', null],
    [`${' '.repeat(100)}ERROR far in the text`, null],
    ['Receiving objects: 100%', null],
  ])('of %j is %s', (text, level) => expect(levelOf(text)).toBe(level));

  it('and the time before it stand out', () => {
    expect(lineHtml('2026-11-21T16:08:12.123Z build: \x1b[1mx<')).toBe(
      '<span class="log-time">2026-11-21T16:08:12.123Z build:</span> <span class="ansi-bold">x&lt;</span>',
    );
  });

  it('is marked where the line names it', () => {
    expect(lineHtml('2026/11/21 16:08:12 WARN [a] <b>')).toBe('2026/11/21 16:08:12 <b>WARN</b> [a] &lt;b&gt;');
  });
});

describe('a long line', () => {
  it('is cut, and tells how much', () => {
    expect(shortened('x'.repeat(SHOWN_CHARACTERS))).toEqual({ shown: 'x'.repeat(SHOWN_CHARACTERS), hidden: 0 });
    expect(shortened('x'.repeat(1_000_000))).toEqual({ shown: 'x'.repeat(SHOWN_CHARACTERS), hidden: 1_000_000 - SHOWN_CHARACTERS });
  });
  it('is never cut within a character', () => {
    const { shown, hidden } = shortened(`x${'😀'.repeat(SHOWN_CHARACTERS)}`);
    expect(shown.isWellFormed()).toBe(true);
    expect(shown.length + hidden).toBe(1 + 2 * SHOWN_CHARACTERS);
  });
});

it('visible text keeps tabs and drops the carriage return at its end', () => {
  expect(visible('a\tb\r')).toBe('a\tb');
});
