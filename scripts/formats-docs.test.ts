/** docs/formats.md shows the table of the code. `UPDATE_DOCS=1` writes it instead. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { type Format, formats } from '../sidecar/clamd/formats/formats.ts';

const page = fileURLToPath(new URL('../docs/formats.md', import.meta.url));

it('docs/formats.md has every format as the code has it', () => {
  const shown = ({ answer, where }: Format) =>
    `${answer === 'judged' ? '**judged**' : `\`${answer}\``}${where === undefined ? '' : `, ${where}`}`;
  const rows = formats.map((format) => `| ${format.name} | ${format.files} | ${format.engine} | ${shown(format)} |`);
  const text = readFileSync(page, 'utf8');
  const head = '| format | known as | what ClamAV 1.4 does | we answer |\n| --- | --- | --- | --- |\n';
  const [before = '', after = ''] = text.split(head);
  const rest = after.slice(after.search(/^(?!\|)/m));
  const expected = `${before}${head}${rows.join('\n')}\n${rest}`;
  if (process.env.UPDATE_DOCS === '1') writeFileSync(page, expected);
  else expect(text).toBe(expected);
});
