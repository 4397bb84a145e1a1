import { Hono } from 'hono';
import { expect, it } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { roleReadiness } from '../http/readiness.ts';
import type { Role } from './role.ts';
import { RoleRunner } from './role-runner.ts';

function setUp(start: () => Promise<void>) {
  const told: string[] = [];
  const role: Role = {
    name: 'trivy-db',
    routes: new Hono(),
    readiness: () => roleReadiness({ trivyDb: { ready: true, why: null } }),
    start,
    stop: async () => void told.push('stopped'),
    hasten: async () => {},
  };
  const runner = new RoleRunner(role, { roleFailed: (name, why) => told.push(`${name}: ${why}`) }, { startMs: 200, retryMs: 20 });
  return { runner, told };
}

it('is ready when its role has begun', async () => {
  const { runner, told } = setUp(async () => {});
  expect(runner.readiness()).toMatchObject({ ready: false, parts: { 'trivy-db': { why: 'it has not started yet' } } });
  await runner.start();
  expect(runner.readiness()).toMatchObject({ ready: true, parts: { trivyDb: { ready: true } } });
  await runner.stop();
  expect(told).toEqual(['stopped']);
});

it('says why its role cannot begin, and tries again until it does', async () => {
  let attempts = 0;
  const { runner, told } = setUp(async () => {
    attempts++;
    if (attempts < 3) throw new Error('its folder cannot be written');
  });
  await runner.start();
  expect(runner.readiness()).toMatchObject({ ready: false, parts: { 'trivy-db': { why: 'its folder cannot be written' } } });
  await eventually('it is ready', () => runner.readiness().ready);
  await runner.stop();
  expect(told).toEqual(['trivy-db: its folder cannot be written', 'trivy-db: its folder cannot be written', 'stopped']);
});

it('stops in the middle of its attempts, and of one that never ends', async () => {
  const failing = setUp(() => Promise.reject(new Error('no')));
  await failing.runner.start();
  await failing.runner.stop();
  expect(failing.told.at(-1)).toBe('stopped');
  const endless = setUp(() => new Promise(() => {}));
  await endless.runner.start();
  await endless.runner.stop();
  expect(endless.told).toEqual(['stopped']);
});
