import type { Measure } from './measure.ts';
import { apiStatus } from './measures/api-status.ts';
import { mediumBacklog, smallBacklog } from './measures/backlog.ts';
import { buildLog } from './measures/build-log.ts';
import { downloads } from './measures/downloads.ts';
import { idle } from './measures/idle.ts';
import { largeFile } from './measures/large-file.ts';
import { memoryGrowth, streamingMemory } from './measures/memory.ts';
import { uploads } from './measures/uploads.ts';
import { busyLatency, idleLatency } from './measures/verdict-latency.ts';

/** In the order of the table. */
export const measures: readonly Measure[] = [
  largeFile,
  smallBacklog,
  mediumBacklog,
  idleLatency,
  busyLatency,
  streamingMemory,
  memoryGrowth,
  uploads,
  downloads,
  idle,
  apiStatus,
  buildLog,
];
