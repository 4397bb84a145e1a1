import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const real = { globalSetup: ['test/harness/global-setup.ts'], testTimeout: 60_000, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    // Most of them wait for processes and clocks: one worker on two cores, as is the default, would leave both idle.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      { test: { name: 'unit', include: ['sidecar/**/*.test.ts', 'pb_hooks/**/*.test.ts', 'scripts/**/*.test.ts'] } },
      { test: { name: 'integration', include: ['test/integration/**/*.test.ts'], ...real } },
      { test: { name: 'fault', include: ['test/fault/**/*.test.ts'], ...real } },
      { test: { name: 'browser', include: ['test/browser/**/*.test.ts'], ...real } },
      { test: { name: 'trivy', include: ['test/trivy/**/*.test.ts'], ...real } },
    ],
  },
});
