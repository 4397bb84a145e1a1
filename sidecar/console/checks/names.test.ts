import fc from 'fast-check';
import { expect, it } from 'vitest';
import { cutInTheMiddle, foreignText, visible } from './names.ts';

it('shows what hides in a name by its number', () => {
  expect(visible('\u202egpj.exe')).toBe('[U+202E]gpj.exe');
  expect(visible('a\u200bb\u0000c\u001b[31m\u2066')).toBe('a[U+200B]b[U+0000]c[U+001B][31m[U+2066]');
  expect(visible('تقرير سري.pdf')).toBe('تقرير سري.pdf');
});

it('leaves nothing that turns the direction of text, whatever the name', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => !/\p{Bidi_Control}|\p{Cc}/u.test(visible(text))));
});

it('cuts in the middle, between characters as people count them', () => {
  expect(cutInTheMiddle('abcdefghij', 10)).toBe('abcdefghij');
  expect(cutInTheMiddle('abcdefghijk', 5)).toBe('ab…jk');
  expect(cutInTheMiddle('👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧', 3)).toBe('👨‍👩‍👧…👨‍👩‍👧');
});

it('isolates and escapes it, whole in the title', async () => {
  expect(String(await foreignText('<b>"x"', 40))).toBe('<bdi>&lt;b&gt;&quot;x&quot;</bdi>');
  expect(String(await foreignText('"><script>alert(1)</script>', 9))).toBe(
    '<bdi title="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;">&quot;&gt;&lt;s…ipt&gt;</bdi>',
  );
});
