import { expect, it } from 'vitest';
import { LoginThrottle } from './login-throttle.ts';

const limits = { perPair: 2, perAccount: 5, perAddress: 4, seconds: 60 };

it('counts an account at an address however it is written, so that nobody elsewhere locks it', async () => {
  const throttle = new LoginThrottle(limits);
  expect(await throttle.begin('10.0.0.1', 'ana@example.com')).toBeNull();
  expect(await throttle.begin('10.0.0.1', ' ANA@example.com')).toBeNull();
  expect(await throttle.begin('10.0.0.1', 'ana@example.com')).toBe(60);
  expect(await throttle.begin('10.0.0.1', 'bob@example.com')).toBeNull();
  expect(await throttle.begin('10.0.0.2', 'ana@example.com')).toBeNull();
});

it('counts an account over all addresses too', async () => {
  const throttle = new LoginThrottle(limits);
  for (let at = 0; at < 5; at += 1) expect(await throttle.begin(`10.0.0.${at}`, 'ana@example.com')).toBeNull();
  expect(await throttle.begin('10.0.0.9', 'ana@example.com')).toBe(60);
  expect(await throttle.begin('10.0.0.9', 'bob@example.com')).toBeNull();
});

it('lets a superuser in while a stranger guesses their password', async () => {
  const throttle = new LoginThrottle();
  for (let at = 0; at < 20; at += 1) await throttle.begin('203.0.113.7', 'ana@example.com');
  expect(await throttle.begin('203.0.113.7', 'ana@example.com')).toBeGreaterThan(800);
  expect(await throttle.begin('10.0.0.1', 'ana@example.com')).toBeNull();
});

it('forgets an account that has logged in, and what was never judged', async () => {
  const throttle = new LoginThrottle(limits);
  await throttle.begin('10.0.0.1', 'ana@example.com');
  await throttle.begin('10.0.0.1', 'ana@example.com');
  await throttle.takeBack('10.0.0.1', 'ana@example.com', true);
  for (let at = 0; at < 9; at += 1) {
    expect(await throttle.begin('10.0.0.1', 'ana@example.com')).toBeNull();
    await throttle.takeBack('10.0.0.1', 'ana@example.com', false);
  }
});

it.each([
  ['2001:db8:1:2::1', '2001:db8:1:2:ffff::9'],
  ['10.0.0.1', '::ffff:10.0.0.1'],
])('takes %s and %s for one address', async (one, other) => {
  const throttle = new LoginThrottle(limits);
  for (let at = 0; at < 4; at += 1) expect(await throttle.begin(one, null)).toBeNull();
  expect(await throttle.begin(other, null)).toBeGreaterThan(0);
  expect(await throttle.begin('2001:db8:1:3::1', null)).toBeNull();
});
