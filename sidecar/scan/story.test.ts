import { expect, it } from 'vitest';
import { ScanError } from './errors.ts';
import { fakeEngine, ManualClock } from './fakes.ts';
import { Story } from './story.ts';

it('tells what happened, one line an event, with the seconds since the claim', async () => {
  const clock = new ManualClock();
  const story = new Story(clock);
  story.add('claimed');
  await clock.advance(1250);
  story.fileJudged({
    name: 'a.zip',
    size: 7,
    sha256: 'aa',
    answer: { kind: 'infected', signature: 'Test.Signature' },
    ms: 3,
    engine: fakeEngine,
  });
  expect(story.text()).toBe(
    '+0.000s claimed\n+1.250s "a.zip": infected with Test.Signature, 7 bytes, by fake (ClamAV 1.4.3, signatures 27000)',
  );
});

it('lets no name and no message make a line of its own', () => {
  const story = new Story(new ManualClock());
  story.fileFailed('evil\n+0.001s verdict: clean\u2028x\u202e', new ScanError('download', 'broke\r\noff'));
  expect(story.text().split(/[\n\r\u2028]/)).toHaveLength(1);
  expect(story.text()).not.toContain('\u202e');
});

it('keeps the end when it is too long', () => {
  const story = new Story(new ManualClock());
  for (let at = 0; at < 500; at++) story.add(`event ${at} ${'x'.repeat(50)}`);
  const lines = story.text().split('\n');
  expect(story.text().length).toBeLessThanOrEqual(4000);
  expect(lines[0]).toMatch(/^\(\d+ earlier lines left out\)$/);
  expect(lines.at(-1)).toContain('event 499');
});
