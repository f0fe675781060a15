// Runs the Worker's scheduled handler at the times of wrangler.toml's cron triggers.

const minuteMs = 60_000;

/** Calls `fire(cron, time)` in each minute that an expression names; returns how to stop it. */
export function schedule(crons, fire) {
  let timer;
  const wait = () => {
    timer = setTimeout(tick, minuteMs - (Date.now() % minuteMs));
    timer.unref();
  };
  const tick = () => {
    const now = new Date(Math.round(Date.now() / minuteMs) * minuteMs);
    for (const cron of crons) if (matches(cron, now)) fire(cron, now);
    wait();
  };
  wait();
  return () => clearTimeout(timer);
}

/** Five fields in UTC: minute, hour, day of the month, month, day of the week (Sunday is 1). */
export function matches(cron, date) {
  const values = [
    date.getUTCMinutes(),
    date.getUTCHours(),
    date.getUTCDate(),
    date.getUTCMonth() + 1,
    date.getUTCDay() + 1,
  ];
  const fields = cron.trim().split(/\s+/);
  return fields.length === 5 && fields.every((field, i) => fieldMatches(field, values[i], i));
}

function fieldMatches(field, value, index) {
  const first = index < 2 ? 0 : 1;
  return field.split(",").some((part) => {
    const [range, step = "1"] = part.split("/");
    const [low, high = range.includes("/") || step !== "1" ? Infinity : low] = range.split("-");
    if (range === "*") return (value - first) % Number(step) === 0;
    return value >= Number(low) && value <= Number(high) && (value - low) % Number(step) === 0;
  });
}
