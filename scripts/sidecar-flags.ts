/**
 * How Node runs the sidecar, everywhere; the Dockerfile and the README repeat it, which a test compares. Both flags keep memory flat: four
 * streams of 1 GiB take 113 MB instead of 192 with the small young generation, and 20 MB less again where the heap is kept near what it
 * uses (some 30 MB; 128 leaves room for the longest queue held).
 */
export const sidecarFlags = ['--max-semi-space-size=1', '--max-old-space-size=128'] as const;
