// Asks COUNT times, AT_ONCE at a time, over HTTP/2 sessions that are replaced when they close; prints answered and failed: URL COUNT AT_ONCE
import http2 from "node:http2";

const [url, count, atOnce] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
let session = null;
let left = count;
const outcomes = { answered: 0, failed: 0 };

function connected() {
  if (session === null || session.closed || session.destroyed) {
    const made = http2.connect(url, { rejectUnauthorized: false });
    made.on("error", () => {});
    made.on("goaway", () => made === session && (session = null));
    session = made;
  }
  return session;
}

function ask() {
  return new Promise((resolve) => {
    const stream = connected().request({ ":path": "/" });
    let status = 0;
    stream.on("response", (headers) => (status = headers[":status"]));
    stream.on("error", () => {});
    stream.on("close", () => resolve(status === 200 && stream.rstCode === 0));
    stream.resume();
    stream.end();
  });
}

async function worker() {
  while (left-- > 0) {
    outcomes[(await ask()) ? "answered" : "failed"]++;
  }
}

await Promise.all(Array.from({ length: atOnce }, worker));
console.log(outcomes.answered, outcomes.failed);
process.exit(0);
