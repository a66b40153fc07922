// One block of load, described by the file that K6_BLOCK names (benchmarks/k6.py writes it).
import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';

const block = JSON.parse(open(__ENV.K6_BLOCK));
const params = { headers: block.headers, timeout: `${block.timeout_s}s` };

const failed = new Rate('failed');
const tokens = new Counter('tokens');
const took = new Trend('took', true);
const firstByte = new Trend('first_byte', true);

const closed = {
  executor: 'constant-vus', vus: block.clients, duration: `${block.seconds}s`,
};
const steady = {
  executor: 'constant-arrival-rate', rate: Math.round(block.per_second * 10), timeUnit: '10s',
  duration: `${block.seconds}s`, preAllocatedVUs: block.clients, maxVUs: block.clients,
};

export const options = {
  scenarios: {
    load: { gracefulStop: `${block.timeout_s}s`, ...(block.per_second ? steady : closed) },
  },
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

let turn = 0;
let explained = false;

function explain(response) {
  // Once a client: what was missing, and how the answer ends.
  if (explained) return;
  explained = true;
  const body = String(response.body);
  const missing = block.holds.filter((text) => !body.includes(text));
  console.error(`${response.status} ${response.error}, without ${missing}: ${body.slice(-300)}`);
}

export default function () {
  // Clients begin at different questions and each goes through all of them.
  const asked = { ...block.bodies[(__VU * 7 + turn) % block.bodies.length] };
  // A number of its own makes a question one that no cache has seen.
  if (block.varies) asked[block.varies] += ` ${block.number}.${__VU}.${turn}`;
  const body = JSON.stringify(asked);
  turn += 1;
  const begun = Date.now();
  const response = http.post(block.url, body, params);
  const good = response.status === 200 && response.body
    && block.holds.every((text) => response.body.includes(text));
  failed.add(!good);
  if (!good) {
    explain(response);
    return;
  }
  took.add(Date.now() - begun);
  firstByte.add(response.timings.waiting);
  if (block.counts) {
    const counted = response.body.match(/"completion_tokens": ?(\d+)/);
    if (counted) tokens.add(Number(counted[1]));
  }
}

export function handleSummary(data) {
  return { [block.summary]: JSON.stringify(data) };
}
