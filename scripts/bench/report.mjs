// What was measured, as rows and as tables.
import { counters } from "./client.mjs";

/** Samples by endpoint, in the order in which they were first seen. */
export class Samples {
  #byEndpoint = new Map();

  /** Awaits an answer, keeps its time and cost under `endpoint`, and hands it on. */
  async time(endpoint, answering) {
    const answer = await answering;
    const samples = this.#byEndpoint.get(endpoint) ?? [];
    samples.push({ ms: answer.ms, cost: answer.cost });
    this.#byEndpoint.set(endpoint, samples);
    return answer;
  }

  rows() {
    return [...this.#byEndpoint].map(([endpoint, samples]) => {
      const times = samples.map(({ ms }) => ms);
      const row = { endpoint, samples: samples.length };
      row.p50_ms = round(quantile(times, 0.5));
      row.p95_ms = round(quantile(times, 0.95));
      for (const name of counters) {
        row[name.replace("-", "_")] = quantile(samples.map(({ cost }) => cost[name]), 0.5);
      }
      return row;
    });
  }
}

export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

export function round(value) {
  return Math.round(value * 100) / 100;
}

/** Prints objects that have the same keys, one a line. */
export function printTable(title, rows) {
  if (rows.length === 0) return;
  const names = Object.keys(rows[0]);
  const lines = [names, ...rows.map((row) => names.map((name) => String(row[name] ?? "")))];
  const widths = names.map((_, i) => Math.max(...lines.map((line) => line[i].length)));
  console.log(`\n${title}\n`);
  for (const line of lines) {
    const cells = line.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i])));
    console.log(`  ${cells.join("  ")}`);
  }
}
