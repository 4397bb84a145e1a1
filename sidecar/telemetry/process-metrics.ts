import { cpuUsage, memoryUsage } from 'node:process';
import { Counter, Gauge, type Registry } from '@prometheus-io/client';
import { catalogue } from './catalogue.ts';

/**
 * Our version, and the process by the names every exporter uses, read when asked. Not the client's default set: that samples the event loop and the
 * garbage collector all the time, and an idle sidecar is to be idle.
 */
export function observeProcess(registry: Registry, version: string, hooksVersion: string): void {
  const registers = [registry];
  const { name, help, labels } = catalogue.buildInfo;
  new Gauge({ name, help, labelNames: Object.keys(labels), registers }).set({ version, hooks_version: hooksVersion }, 1);
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'User and system CPU time spent.',
    registers,
    collect() {
      const { user, system } = cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory size.',
    registers,
    collect() {
      this.set(memoryUsage.rss());
    },
  });
  new Gauge({ name: 'process_start_time_seconds', help: 'Start of the process since the epoch.', registers }).set(
    performance.timeOrigin / 1000,
  );
}
