/// Turns on the second lock of an `app_builds` that is ours alone; a host turns on its own with `av-lock on`.
import { CHECKS, HISTORY } from '../pb_hooks/lib/checks.ts';
import { lockOff, lockOurOwn } from '../pb_hooks/lib/second-lock.ts';
import { flag } from '../pb_hooks/lib/settings.ts';

migrate(
  (app) => {
    if (flag('AV_CREATE_APP_BUILDS')) lockOurOwn(app);
  },
  (app) => {
    // Also what "av-lock on" did: without our columns its rule would shut the builds for good.
    if (app.hasTable(CHECKS) && app.hasTable(HISTORY)) lockOff(app);
  },
);
