/**
 * Versions and checksums of the real parts. A release is used only when its SHA-256 is the one written here; a Go build starts
 * from a module whose `h1:` sum is the one written here, and that module's own go.sum pins everything below it.
 */
import type { GoSource } from './go-build.ts';

interface Pin {
  readonly version: string;
  /** Of the release asset, by `${process.platform}-${process.arch}`. */
  readonly releases: Readonly<Record<string, { readonly url: string; readonly sha256: string }>>;
}

interface GoPin extends Pin {
  readonly go: GoSource;
}

/** Releases of these exist, but nobody publishes checksums that could be written here without having fetched them. */
type GoOnlyPin = Omit<GoPin, 'releases'>;

const pocketBaseRelease = (platform: string, sha256: string) => ({
  url: `https://github.com/pocketbase/pocketbase/releases/download/v0.40.4/pocketbase_0.40.4_${platform}.zip`,
  sha256,
});

export const POCKETBASE: GoPin = {
  version: '0.40.4',
  releases: {
    'linux-x64': pocketBaseRelease('linux_amd64', '9042ec818570e79c3628dadcd0a756c1496d9e1173918ec409d133c02f82e5fa'),
    'linux-arm64': pocketBaseRelease('linux_arm64', '86095bf8ed9345954f0d2bf0a5fb9b57584ae60b77ebf3b6cd23a8003a3fd418'),
    'darwin-x64': pocketBaseRelease('darwin_amd64', '052906521f09f6f23405cd804c930d2b7a1f8eee06d39b85723b5054b2acb4e4'),
    'darwin-arm64': pocketBaseRelease('darwin_arm64', 'eeb619ea4f8a06421daedb946d133bed269fea334a760941d147f76befc25ebc'),
  },
  go: {
    module: 'github.com/pocketbase/pocketbase@v0.40.4',
    sum: 'h1:0SvSUreR3NhUMCs9LchE59oEG53efZ3cKiMGyAGBN9U=',
    package: './examples/base',
    toolchain: '1.27.0',
    ldflags: '-s -w -X github.com/pocketbase/pocketbase.Version=0.40.4',
  },
};

/** Cisco Talos publishes a Debian package that keeps to /usr/local; it includes the RAR module that Debian's own leaves out. */
export const CLAMAV: Pin = {
  version: '1.4.6',
  releases: {
    'linux-x64': {
      url: 'https://github.com/Cisco-Talos/clamav/releases/download/clamav-1.4.6/clamav-1.4.6.linux.x86_64.deb',
      sha256: 'd3ee9e401974855a1edc1761b1425417d126de618d5f0c91cd51209f69f6fcc2',
    },
  },
};

const composeRelease = (platform: string, sha256: string) => ({
  url: `https://github.com/docker/compose/releases/download/v2.40.3/docker-compose-${platform}`,
  sha256,
});

export const DOCKER_COMPOSE: GoPin = {
  version: '2.40.3',
  releases: {
    'linux-x64': composeRelease('linux-x86_64', 'dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372'),
    'linux-arm64': composeRelease('linux-aarch64', 'd26373b19e89160546d15407516cc59f453030d9bc5b43ba7faf16f7b4980137'),
  },
  go: {
    module: 'github.com/docker/compose/v2@v2.40.3',
    sum: 'h1:XeYkQu1svDtyfZPv5nTwFryQ25ZJMkIlc4pz9HalMPI=',
    package: './cmd',
    toolchain: '1.26.0',
    ldflags: '-s -w -X github.com/docker/compose/v2/internal.Version=v2.40.3',
  },
};

export const TRIVY_DB: GoOnlyPin = {
  version: '0.0.0-20260813095258-0e0340a01b57',
  go: {
    module: 'github.com/aquasecurity/trivy-db@v0.0.0-20260813095258-0e0340a01b57',
    sum: 'h1:A3Lz/9ip/qigafSxqBWcu7S8i+tJbQS7DB2V0XibOKs=',
    package: './cmd/trivy-db',
    toolchain: '1.26.3',
    ldflags: '-s -w',
  },
};

export const BBOLT: GoOnlyPin = {
  version: '1.4.3',
  go: {
    module: 'go.etcd.io/bbolt@v1.4.3',
    sum: 'h1:dEadXpI6G79deX5prL3QRNP6JB8UxVkqo4UPnHaNXJo=',
    package: './cmd/bbolt',
    toolchain: '1.26.3',
    ldflags: '-s -w',
  },
};

export const CRANE: GoOnlyPin = {
  version: '0.22.1',
  go: {
    module: 'github.com/google/go-containerregistry@v0.22.1',
    sum: 'h1:RZuuSYhTvlDvtsK+NkutoCZ//C0X2ebLK8X8l3ULs84=',
    package: './cmd/crane',
    toolchain: '1.26.3',
    ldflags: '-s -w -X github.com/google/go-containerregistry/cmd/crane/cmd.Version=v0.22.1',
  },
};

/** Never 0.69.4 to 0.69.6, which were compromised; hence the commit beside the sum. */
export const TRIVY: GoOnlyPin = {
  version: '0.74.0',
  go: {
    module: 'github.com/aquasecurity/trivy@v0.74.0',
    sum: 'h1:B2/h1Aehsq/zykg0jxpWUlOX7e3UXpbxjZZs/0vNlC4=',
    origin: 'e1fd17a0ea4a8cf24bc4b4dd7e2cfbf4bb31b994',
    package: './cmd/trivy',
    toolchain: '1.26.3',
    ldflags: '-s -w -X github.com/aquasecurity/trivy/pkg/version/app.ver=0.74.0',
    experiment: 'jsonv2',
  },
};
