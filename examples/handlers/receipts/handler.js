// Prints a receipt for a priced cart. One request is one record: a CloudEvent, in binary mode.
//
// 200 with a body: the record's output. 204: there is nothing to print. 429 with Retry-After: come again with this record.
// 422: the record can never be handled, and goes to the dead letter topic with this text.

'use strict';

const http = require('node:http');

// How many receipts are printed at once.
const PRINTERS = Number(process.env.PRINTERS ?? 8);
const MAX_BYTES = 1 << 20;

let printing = 0;

function receipt(text) {
  const cart = JSON.parse(text);
  for (const field of ['net', 'tax', 'total']) {
    if (typeof cart?.[field] !== 'number') throw new Error(`${field}: must be a number`);
  }
  if (cart.total === 0) return null;
  const lines = cart.items.map((item) => `${item.quantity} x ${item.sku}  ${Number(item.price).toFixed(2)}`);
  return [`cart ${cart.cartId}`, ...lines, `net ${cart.net.toFixed(2)}`, `tax ${cart.tax.toFixed(2)}`, `total ${cart.total.toFixed(2)}`, ''].join('\n');
}

// Printing takes its time; meanwhile other records are taken.
function print(text) {
  return new Promise((done) => setTimeout(() => done(text), 5));
}

async function body(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes <= MAX_BYTES) parts.push(part);
  }
  if (bytes > MAX_BYTES) throw new Error(`the cart has ${bytes} bytes, and may have ${MAX_BYTES}`);
  return Buffer.concat(parts).toString('utf8');
}

const server = http.createServer(async (request, response) => {
  const reply = (status, headers, text) => response.writeHead(status, headers).end(text);
  if (printing >= PRINTERS) {
    request.resume();
    return reply(429, { 'retry-after': '1' });
  }
  printing += 1;
  try {
    const text = receipt(await body(request));
    if (text === null) return reply(204);
    return reply(200, { 'content-type': 'text/plain; charset=utf-8', 'ce-type': 'receipt.printed' }, await print(text));
  } catch (why) {
    return reply(422, { 'content-type': 'text/plain; charset=utf-8' }, why.message);
  } finally {
    printing -= 1;
  }
});

// The worker keeps its connections; it should be the one that closes them.
server.keepAliveTimeout = 0;
server.listen(Number(process.env.PORT ?? 8080), () => console.log(`listening on ${server.address().port}`));
// The worker ends first, so that nothing is in process any more when this signal comes.
process.on('SIGTERM', () => process.exit(0));
