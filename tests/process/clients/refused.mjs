// Sends a body of SIZE bytes in pieces of PIECE with PAUSE seconds between; prints the status: URL SIZE PIECE PAUSE
import http from 'node:http';
import https from 'node:https';

const [url, size, piece, pause] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const library = url.startsWith('https') ? https : http;
const options = {method: 'POST', headers: {'Content-Length': size}, rejectUnauthorized: false};
const request = library.request(url, options, (response) => {
  console.log(response.statusCode);
  process.exit(0);
});
request.on('error', (error) => {
  console.log(error.code);
  process.exit(0);
});
let left = size;
const next = () => {
  const now = Math.min(left, piece);
  left -= now;
  if (!now) return request.end();
  request.write(Buffer.alloc(now), () => setTimeout(next, pause * 1000));
};
next();
