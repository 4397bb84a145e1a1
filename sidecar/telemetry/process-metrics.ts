import { cpuUsage, memoryUsage } from 'node:process';
import { Counter, Gauge, type Registry } from '@prometheus-io/client';

/**
 * The process by the names every exporter uses, read when asked. Not the client's default set: that samples the event loop and the
 * garbage collector all the time, and an idle sidecar is to be idle.
 */
export function observeProcess(registry: Registry): void {
  const registers = [registry];
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
