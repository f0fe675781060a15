// What the server answers to programs that do not tell, and what their libraries complain of.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";

/** A proxy before the server that notes each answer: `{ url, answers }`. */
export async function startWitness(t, server) {
  const answers = [];
  const proxy = http.createServer((request, response) => {
    const { hostname, port } = new URL(server.url);
    const { method, url: path, headers } = request;
    // The server closes connections that rest: none is kept.
    const to = { hostname, port, path, method, headers, agent: false };
    const onward = http.request(to, (answer) => {
      const noted = { method, path, status: answer.statusCode, body: "" };
      answers.push(noted);
      if (answer.statusCode >= 400) answer.on("data", (data) => (noted.body += data));
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    // A server that is away looks like one to the client, too.
    onward.once("error", () => response.destroy());
    response.once("close", () => onward.destroy());
    request.pipe(onward);
  });
  // Clients keep theirs for a minute.
  proxy.keepAliveTimeout = 75_000;
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${proxy.address().port}`, answers };
}

/**
 * Answers with an error although all is well, as by a default Synapse: the library asks for these
 * to learn whether they are there.
 */
const expectedAnswers = [
  /^404 GET .*\/account_data\/m\./,
  /^404 GET .*\/room_keys\/version .*M_NOT_FOUND/,
  /^404 GET .*\/state\/m\.room\.encryption\/ .*M_NOT_FOUND/,
  // A key that its owner is still uploading.
  /^404 GET .*\/room_keys\/keys\/.*M_NOT_FOUND.*No room_keys found/,
];

/** What the library complains of although the server has done nothing wrong. */
const expectedComplaints = [
  // The answers themselves are looked at.
  /status_code: \d+/,
  // The server was away for its restart.
  /error sending request|Reqwest\(|Timed out, sleeping for/,
  // A room that was joined, and of which no sync has told yet.
  /Unable to get the room version rules|Room is unknown/,
  // A reaction, which is not shown by itself, was taken back.
  /Set update dropped because there wasn't any attached timeline item index/,
  // It is about to ask for what it needs for one.
  /Missing session for device/,
  // A new session publishes its keys and asks for them at the same time.
  /Our own device might have been deleted/,
  // What a new device has from the backup already.
  /Received a megolm room key that we already have a better version of/,
  /Trying to backup room keys but no backup key was found/,
  // A new device, before it is verified and has the backup; the tests read everything afterwards.
  /Can't find the room key to decrypt the event|Failed to redecrypt an event/,
  /Can't sign the device keys for .*, no private device signing key found/,
];

/** Nothing was answered with an error, and the library complains of nothing. */
export function assertContent({ answers }, clients) {
  const errors = answers
    .filter(({ status }) => status >= 400)
    .map(({ status, method, path, body }) => `${status} ${method} ${path} ${body}`);
  const isKnown = (error) => expectedAnswers.some((known) => known.test(error));
  assert.deepEqual(errors.filter((error) => !isKnown(error)), []);
  for (const { name, log } of clients) {
    const complaints = log.map(({ level, target, text }) => `${level} ${target} ${text}`);
    const isExpected = (complaint) => expectedComplaints.some((known) => known.test(complaint));
    assert.deepEqual(complaints.filter((complaint) => !isExpected(complaint)), [], name);
  }
}
